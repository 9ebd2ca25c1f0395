"""Asks every model of a folder through tritonclient, in JSON and in binary, and holds the answers against
onnxruntime's: `client.py HOST:PORT MODELS`, each model with its `meta.json` and `expected.npz`."""

import json
import pathlib
import sys

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

ROWS = 100


def batches(meta, config):
    """Which rows go into a request together."""
    rows_max = max(config["max_batch_size"], 1)
    if "int8" in meta["name"]:
        # What it answers depends on the other rows: it is compared one by one.
        rows_max = 1
    # All of a batch, one, and some.
    return [range(0, rows_max), range(1, 2), range(2, min(2 + rows_max, 9))]


def agree(model, meta, name, got, expected):
    if expected.dtype.kind in "iuSUO":
        texts = [value.decode() if isinstance(value, bytes) else value for value in got.ravel()]
        assert [str(v) for v in texts] == [str(v) for v in expected.ravel()], f"{model} {name}"
        return
    tolerance = 1e-2 if "16" in str(meta.get("input_dtype")) else 1e-5
    wrong = np.abs(got - expected) > tolerance * np.maximum(1, np.abs(expected))
    assert got.shape == expected.shape, f"{model} {name}: {got.shape}, expected {expected.shape}"
    assert not wrong.any(), f"{model} {name}: {got[wrong][:5]}, expected {expected[wrong][:5]}"


def ask(client, model, meta, arrays):
    metadata = client.get_model_metadata(model)
    config = client.get_model_config(model)
    assert metadata["versions"] == ["1"], metadata
    assert [port["name"] for port in metadata["inputs"]] == [i["name"] for i in meta["inputs"]], metadata
    outputs = [output["name"] for output in meta["outputs"]]
    assert [port["name"] for port in metadata["outputs"]] == outputs, metadata
    prefix = "out1_" if f"out1_{outputs[0]}" in arrays and "int8" in meta["name"] else "out_"
    requests = 0
    for rows in batches(meta, config):
        feeds = [(i["name"], arrays[f"in_{i['name']}"][rows.start : rows.stop]) for i in meta["inputs"]]
        for binary_in in (False, True):
            for binary_out in (False, True):
                if not binary_in and any(array.dtype == np.float16 for _, array in feeds):
                    continue
                inputs = []
                for name, array in feeds:
                    one = http.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
                    one.set_data_from_numpy(np.ascontiguousarray(array), binary_data=binary_in)
                    inputs.append(one)
                wanted = [http.InferRequestedOutput(name, binary_data=binary_out) for name in outputs]
                result = client.infer(model, inputs, outputs=wanted, request_id="7")
                assert result.get_response()["id"] == "7"
                for name in outputs:
                    expected = arrays[prefix + name][rows.start : rows.stop]
                    agree(model, meta, name, result.as_numpy(name), expected)
                requests += 1
    for coding in ("gzip", "deflate"):
        result = client.infer(model, inputs, request_compression_algorithm=coding, response_compression_algorithm=coding)
        for name in outputs:
            agree(model, meta, name, result.as_numpy(name), arrays[prefix + name][rows.start : rows.stop])
        requests += 1
    # Nothing named: all come, in binary.
    assert set(o["name"] for o in client.infer(model, inputs).get_response()["outputs"]) == set(outputs)
    statistics = client.get_inference_statistics(model)["model_stats"][0]
    assert statistics["execution_count"] == requests + 1, (statistics, requests)


def main():
    client = http.InferenceServerClient(sys.argv[1], connection_timeout=60, network_timeout=60)
    assert client.is_server_live() and client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    count = 0
    for folder in sorted(pathlib.Path(sys.argv[2]).iterdir()):
        meta = json.loads((folder / "meta.json").read_text())
        if not meta["good"]:
            continue
        assert client.is_model_ready(folder.name), folder.name
        with np.load(folder / "expected.npz", allow_pickle=True) as arrays:
            arrays = {name: arrays[name] for name in arrays.files}
        ask(client, folder.name, meta, arrays)
        count += 1
    index = client.get_model_repository_index()
    assert len(index) == count and all(entry["state"] == "READY" for entry in index), index
    client.unload_model("torch_mlp_a")
    assert not client.is_model_ready("torch_mlp_a")
    client.load_model("torch_mlp_a")
    assert client.is_model_ready("torch_mlp_a")
    assert not client.is_model_ready("no_such_model")
    try:
        client.get_model_metadata("no_such_model")
        raise AssertionError("a model that is not there has metadata")
    except InferenceServerException as error:
        assert "there is no model `no_such_model`" in error.message(), error
        assert error.status() == "404", error.status()
    refused(client)
    print(f"{count} models agree")


def refused(client):
    """What the client can ask for and does not get: it is told what is so in words of this server."""
    metadata = client.get_model_metadata("torch_mlp_a")
    port = metadata["inputs"][0]
    shape = [1, *port["shape"][1:]]
    one = http.InferInput(port["name"], shape, port["datatype"])
    one.set_data_from_numpy(np.zeros(shape, np.float32))
    shared = http.InferInput(port["name"], shape, port["datatype"])
    shared.set_shared_memory("region", 4)
    assert client.infer("torch_mlp_a", [one], model_version="1", priority=1).get_response()["model_version"] == "1"
    client.unload_model("torch_mlp_a")
    for ask, words in [
        (lambda: client.infer("torch_mlp_a", [one]), "was unloaded: POST /v2/repository/models/torch_mlp_a/load"),
        (lambda: client.load_model("torch_mlp_a", config="{}"), "models come from the models folder"),
    ]:
        told(ask, words)
    client.load_model("torch_mlp_a")
    for ask, words in [
        (lambda: client.infer("torch_mlp_a", [one], model_version="9"), "version 9 of `torch_mlp_a` is not promoted"),
        (lambda: client.infer("torch_mlp_a", [shared]), "shared memory is not offered"),
        (lambda: client.get_inference_statistics("torch_mlp_a", "9"), "is not promoted: 1 are"),
        (lambda: client.register_system_shared_memory("a", "/a", 8), "shared memory is not offered"),
        (lambda: client.get_cuda_shared_memory_status(), "shared memory is not offered"),
        (lambda: client.get_trace_settings("torch_mlp_a"), "traces are not offered"),
        (lambda: client.update_log_settings({"log_verbose_level": 1}), "PATCH /api/config"),
    ]:
        told(ask, words)
    spent = client.get_inference_statistics("torch_mlp_a", "1")["model_stats"][0]
    parts = spent["inference_stats"]
    sums = [parts[name]["ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output")]
    assert spent["last_inference"] > 1.7e12 and all(ns > 0 for ns in sums), spent
    assert sum(sums) <= parts["success"]["ns"], spent


def told(ask, words):
    try:
        ask()
    except InferenceServerException as error:
        assert words in error.message(), error
        return
    raise AssertionError(f"it was not refused: {words}")


main()
