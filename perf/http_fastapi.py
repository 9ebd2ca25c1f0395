"""The server that most people would write: FastAPI around onnxruntime. `MODEL=… uvicorn http_fastapi:app --workers 2`."""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options)
app = FastAPI()


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class Request(BaseModel):
    inputs: list[Tensor]


@app.post("/v2/models/trees/infer")
async def infer(request: Request):
    tensor = request.inputs[0]
    row = np.array(tensor.data, dtype=np.float32).reshape(tensor.shape)
    value = session.run(None, {"x": row})[0]
    output = {"name": "y", "datatype": "FP32", "shape": list(value.shape), "data": value.ravel().tolist()}
    return {"model_name": "trees", "model_version": "1", "outputs": [output]}
