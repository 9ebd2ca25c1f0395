#!/usr/bin/env python3
"""Trains the demo's models on bars and the features that vela computed of them, and exports them to ONNX.

    python demo/train.py --bars BARS --features FEATURES

demo/README.md has the whole chain.

Reads  SYMBOL_1m.csv (ts,open,high,low,close,volume) and SYMBOL_1m.features.csv (ts,<feature names>).
Writes demo/models/NAME/{promoted,VERSION/{model.onnx,model.toml,golden.csv}} and prints how well each
model does on bars it was not trained on.

The same input, packages and processor give the same files, byte for byte. A label is made of the bars
after the one whose features it is joined to, and of that one's close, at which the features are known.
"""

import argparse
import csv
import os
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums in one order: the same bits every time

import lightgbm
import numpy as np
import onnx
import onnxruntime
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType as LightgbmFloats
from scipy.stats import rankdata
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 7
MINUTE_S = 60
DAY_S = 86_400
# Older runtimes read them too; the converters stamp what the graph needs, which is less.
OPSET, ML_OPSET, IR = 15, 3, 8

TRAIN_SHARE = 0.7  # of the time: the first part trains, the rest tests
WARM_UP_BARS = 300  # recursive features (rsi, adx) have forgotten where history began
EMBARGO_BARS = 60  # between training and test: longer than any label or feature window
LABEL_MAX = 4.0  # a regression's label is cut here, in standard deviations
GOLDEN_ROWS = 20


@dataclass
class Model:
    """What is asked of a model, and which rule of thumb it has to beat."""

    name: str
    symbol: str
    horizon: int
    kind: str
    features: list
    rule: tuple  # (sign, feature)
    versions: list  # of (number, share of the training time it saw, fit); the last one serves
    output: str = ""


@dataclass
class Series:
    """One symbol's bars and features, one row a bar."""

    symbol: str
    time: np.ndarray  # open times, seconds
    close: np.ndarray
    features: dict = field(default_factory=dict)


# ---------------------------------------------------------------------------------------------- data


def read_series(bars_file, features_file, names):
    with open(bars_file, newline="") as file:
        rows = list(csv.DictReader(file))
    text = [row["ts"] for row in rows]
    time = np.array([ts.removesuffix("Z") for ts in text], dtype="datetime64[s]").astype(np.int64)
    if len(time) < 2 or (np.diff(time) <= 0).any():
        sys.exit(f"{bars_file}: open times must rise, and there must be at least two")
    close = np.array([float(row["close"]) for row in rows])

    with open(features_file, newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        missing = [name for name in names if name not in header]
        if header[0] != "ts" or missing:
            sys.exit(f"{features_file}: lacks {', '.join(missing) or 'ts as its first column'}")
        columns = [header.index(name) for name in names]
        by_ts = {row[0]: [float(row[c] or "nan") for c in columns] for row in reader}
    undefined = [float("nan")] * len(names)
    table = np.array([by_ts.get(ts, undefined) for ts in text])
    if np.isnan(table).all(axis=1).mean() > 0.5:
        sys.exit(f"{features_file}: most bars of {bars_file} have no features in it")
    symbol = Path(bars_file).name.removesuffix("_1m.csv")
    return Series(symbol, time, close, dict(zip(names, table.T)))


def read_all(bars, features, names):
    files = sorted(bars.glob("*_1m.csv"))
    if not files:
        sys.exit(f"{bars}: there is no SYMBOL_1m.csv")
    series = []
    for file in files:
        other = features if features.is_file() else features / f"{file.stem}.features.csv"
        if features.is_file() and len(files) > 1:
            sys.exit(f"{features} is one file, but {bars} holds {len(files)} series: give a folder")
        if not other.exists():
            sys.exit(f"{other} does not exist: one file of features for each of {bars}")
        series.append(read_series(file, other, names))
    return series


def forward_return(series, horizon):
    """Of the bars AFTER each bar: from its close, at which the features are known, to the close of the
    one `horizon` later. NaN where that one is missing, or bars between."""
    result = np.full(len(series.close), np.nan)
    whole = series.time[horizon:] - series.time[:-horizon] == horizon * MINUTE_S
    moved = series.close[horizon:] / series.close[:-horizon] - 1.0
    result[:-horizon] = np.where(whole, moved, np.nan)
    return result


def label(series, model):
    moved = forward_return(series, model.horizon)
    if model.kind == "classification":
        return np.where(moved == 0.0, np.nan, moved > 0.0) + 0.0 * moved  # no direction: no label
    # In units of what the symbol moves in such a time: comparable over symbols and days.
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = moved / (series.features["rv_20"] * np.sqrt(model.horizon))
    return np.where(np.isfinite(scaled), scaled, np.nan)


def rows(series, model):
    """(x, y, time) of the bars whose features and label are defined; x as the model will see it, float32."""
    x = np.column_stack([series.features[name] for name in model.features]).astype(np.float32)
    y = label(series, model)
    usable = np.isfinite(x).all(axis=1) & np.isfinite(y)
    usable[:WARM_UP_BARS] = False
    return x[usable], y[usable], series.time[usable]


def before(data, model, cut):
    """The rows of all series whose labels end before `cut`."""
    known = [time + (model.horizon + 1) * MINUTE_S <= cut for _, _, time in data]
    x = np.concatenate([x[k] for (x, _, _), k in zip(data, known)])
    return x, np.concatenate([y[k] for (_, y, _), k in zip(data, known)])


def after(data, cut):
    """The rows an embargo after `cut`, by series."""
    late = [time >= cut + EMBARGO_BARS * MINUTE_S for _, _, time in data]
    return [(x[k], y[k], time[k]) for (x, y, time), k in zip(data, late)]


# -------------------------------------------------------------------------------------------- models


def lightgbm_trees(objective, trees, leaves):
    def fit(x, y):
        parameters = {
            "objective": objective,
            "num_leaves": leaves,
            "learning_rate": 0.05,
            "min_data_in_leaf": 2000,
            "lambda_l2": 10.0,
            "seed": SEED,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbose": -1,
        }
        booster = lightgbm.train(parameters, lightgbm.Dataset(x, y), trees)
        inputs = [("features", LightgbmFloats([None, x.shape[1]]))]
        graph = convert_lightgbm(booster, "trees", inputs, target_opset=OPSET, zipmap=False)
        return graph, booster.predict

    return fit


def perceptron(x, y):
    network = MLPRegressor(hidden_layer_sizes=(16, 8), alpha=1e-2, batch_size=4096, max_iter=12, random_state=SEED)
    network.set_params(learning_rate_init=2e-3, tol=0.0, n_iter_no_change=100)
    return from_sklearn(make_pipeline(StandardScaler(), network), x, y, {})


def logistic(x, y):
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    return from_sklearn(pipeline, x, y.astype(np.int64), {"zipmap": True})


def from_sklearn(pipeline, x, y, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the perceptron stops after its epochs, as it should
        pipeline.fit(x, y)
    inputs = [("features", FloatTensorType([None, x.shape[1]]))]
    graph = convert_sklearn(
        pipeline,
        "pipeline",
        inputs,
        target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
        options={id(pipeline): options} if options else None,
    )
    native = (lambda x: pipeline.predict_proba(x)[:, 1]) if options else pipeline.predict
    return graph, native


MODELS = [
    Model(
        "demo-1m-h1",
        "*",
        1,
        "regression",
        ["ret_1", "ret_3", "ret_5", "body_ratio", "rsi_14", "stoch_d", "willr_14", "zscore_20", "adx_14"]
        + ["plus_di_14", "minus_di_14", "vol_ratio_20", "rv_20"],
        (1, "ret_1"),
        # The first version is older and smaller: what a rollback goes back to.
        [(1, 0.5, lightgbm_trees("regression", 30, 6)), (2, 1.0, lightgbm_trees("regression", 80, 10))],
    ),
    Model(
        "demo-1m-h5",
        "*",
        5,
        "classification",
        ["rsi_14", "stoch_k", "stoch_d", "cci_20", "zscore_20", "adx_14", "plus_di_14", "minus_di_14"]
        + ["mfi_14", "body_ratio", "vol_ratio_20"],
        (-1, "rsi_14"),
        [(1, 1.0, lightgbm_trees("binary", 60, 8))],
        '[output]\nvalue = "probabilities"\ncolumn = 1\n',
    ),
    Model(
        "demo-1m-h15",
        "*",
        15,
        "regression",
        ["rsi_14", "stoch_k", "stoch_d", "cci_20", "zscore_20", "adx_14", "plus_di_14", "minus_di_14"]
        + ["mfi_14", "bb_pctb", "body_ratio", "vol_ratio_20"],
        (-1, "rsi_14"),
        [(1, 1.0, perceptron)],
    ),
    Model(
        "demo-btcusd-1m-h5",
        "BTCUSD",
        5,
        "classification",
        ["rsi_14", "stoch_d", "zscore_20", "plus_di_14", "minus_di_14", "body_ratio", "vol_ratio_20"],
        (-1, "rsi_14"),
        [(1, 1.0, logistic)],
        # ZipMap: the output is a map from class to probability.
        '[output]\nvalue = "output_probability"\nclass = 1\n',
    ),
]


def all_features():
    return sorted({name for model in MODELS for name in model.features} | {"rv_20"})


# ------------------------------------------------------------------------------------------- measure


def rank_correlation(prediction, outcome):
    if len(prediction) < 3 or np.ptp(prediction) == 0.0 or np.ptp(outcome) == 0.0:
        return np.nan
    return np.corrcoef(rankdata(prediction), rankdata(outcome))[0, 1]


def area_under_curve(prediction, outcome):
    return roc_auc_score(outcome, prediction) if 0.0 < outcome.mean() < 1.0 else np.nan


def score(measure, test, predict):
    """Mean over days and symbols, its standard error by days (symbols of one day move together), and the
    range over symbols."""
    predictions = [predict(x) for x, _, _ in test]
    by_day = []
    for day in np.unique(np.concatenate([time // DAY_S for _, _, time in test])):
        of_day = []
        for (_, y, time), prediction in zip(test, predictions):
            here = time // DAY_S == day
            if here.sum() >= 200:
                of_day.append(measure(prediction[here], y[here]))
        if of_day:
            by_day.append(np.nanmean(of_day))
    whole = [measure(prediction, y) for (_, y, _), prediction in zip(test, predictions)]
    error = np.std(by_day, ddof=1) / np.sqrt(len(by_day))
    return np.mean(by_day), error, min(whole), max(whole), len(by_day)


# --------------------------------------------------------------------------------------------- write


def conservative(graph):
    """The file's bytes, held to old stamps, and without what the converters leave to chance."""
    graph.ir_version = min(graph.ir_version, IR)
    opsets = sorted(graph.opset_import, key=lambda opset: opset.domain)
    del graph.opset_import[:]
    graph.opset_import.extend(opsets)
    for opset in graph.opset_import:
        limit = ML_OPSET if opset.domain == "ai.onnx.ml" else OPSET
        if opset.version > limit:
            sys.exit(f"the exporter wrote opset {opset.domain} {opset.version}, at most {limit} is wanted")
    onnx.checker.check_model(graph)
    return graph.SerializeToString(deterministic=True)


class Session:
    """What is served: the exported file in ONNX Runtime."""

    def __init__(self, data, model):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # LightGBM's exporter declares a wrong shape for `label`
        self.session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
        outputs = [output.name for output in self.session.get_outputs()]
        self.output = outputs[-1]  # classifiers: the label first, the probabilities second
        self.classifier = model.kind == "classification"

    def values(self, x):
        """[N, columns]."""
        (result,) = self.session.run([self.output], {"features": x})
        if isinstance(result, list):  # ZipMap
            return np.array([[row[key] for key in sorted(row)] for row in result], dtype=np.float32)
        return result.reshape(len(x), -1)

    def predict(self, x):
        return self.values(x)[:, 1 if self.classifier else 0]


def golden_rows(test):
    """Rows spread over symbols and test time."""
    picked = []
    for number in range(GOLDEN_ROWS):
        x = test[number % len(test)][0]
        picked.append(x[number * (len(x) - 1) // (GOLDEN_ROWS - 1)])
    return np.array(picked, dtype=np.float32)


def write_golden(path, session, x):
    # One row a run: the answer that a batch must reproduce.
    y = np.concatenate([session.values(x[i : i + 1]) for i in range(len(x))])
    if not np.allclose(y, session.values(x), rtol=1e-5, atol=1e-7):
        sys.exit(f"{path}: rows answer otherwise in a batch than alone")
    header = [f"x_{i}" for i in range(x.shape[1])] + [f"y_{i}" for i in range(y.shape[1])]
    lines = [",".join(header)]
    lines += [",".join(repr(float(value)) for value in (*inputs, *outputs)) for inputs, outputs in zip(x, y)]
    path.write_text("\n".join(lines) + "\n")


def write_manifest(path, model, note):
    features = "".join(f'    "{name}",\n' for name in model.features)
    meaning = (
        f"P(close {model.horizon} bars on is higher)"
        if model.kind == "classification"
        else f"return over {model.horizon} bars / (rv_20 * sqrt({model.horizon}))"
    )
    path.write_text(
        f"# Written by demo/train.py; trained on a simulated market. Predicts: {meaning}.\n"
        f"# {note}\n"
        f'symbol = "{model.symbol}"\n'
        f'timeframe = "1m"\n'
        f"horizon = {model.horizon}\n"
        f"features = [\n{features}]\n"
        f"window = 1\n"
        f'kind = "{model.kind}"\n' + (f"\n{model.output}" if model.output else "")
    )


# ---------------------------------------------------------------------------------------------- main


def train(model, all_series, first, cut, out):
    series = [s for s in all_series if model.symbol in ("*", s.symbol)]
    if not series:
        sys.exit(f"{model.name}: there are no bars of {model.symbol}")
    data = [rows(s, model) for s in series]
    test = after(data, cut)
    if not all(len(part[0]) for part in test):
        sys.exit(f"{model.name}: too few bars to test on")
    classifier = model.kind == "classification"
    measure, what = (area_under_curve, "AUC") if classifier else (rank_correlation, "rank IC")
    sign, feature = model.rule
    column = model.features.index(feature)
    rule = score(measure, test, lambda x: sign * x[:, column])

    for version, share, fit in model.versions:
        x, y = before(data, model, first + share * (cut - first))
        if len(x) < 10_000:
            sys.exit(f"{model.name}: {len(x)} bars to train on, at least 10,000 are needed")
        graph, native = fit(x, y if classifier else np.clip(y, -LABEL_MAX, LABEL_MAX))
        file = conservative(graph)
        session = Session(file, model)
        mean, error, low, high, days = score(measure, test, session.predict)
        sample = np.concatenate([part[0][:2000] for part in test])
        difference = np.abs(session.predict(sample) - native(sample)).max()

        folder = out / model.name / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(file)
        note = f"Out of sample: {what} {mean:.3f} +- {error:.3f} over {days} days; {low:.3f} to {high:.3f} by symbol."
        write_manifest(folder / "model.toml", model, note)
        write_golden(folder / "golden.csv", session, golden_rows(test))
        trained = measure(session.predict(x), y)
        print(
            f"{model.name:18} v{version}  {len(file) / 1024:6.1f} KB  {what:7} {mean:.3f} +- {error:.3f}"
            f"  by symbol {low:.3f} to {high:.3f}  in training {trained:.3f}"
            f"  rule {'-' if sign < 0 else ''}{feature} {rule[0]:.3f}  ONNX - native {difference:.0e}"
        )
    promoted = "".join(f"{version}\n" for version, *_ in model.versions)
    (out / model.name / "promoted").write_text(promoted)


def main():
    parser = argparse.ArgumentParser(description="Trains the demo's models and exports them to ONNX.")
    parser.add_argument("--bars", type=Path, help="folder with SYMBOL_1m.csv")
    parser.add_argument("--features", type=Path, help="folder with SYMBOL_1m.features.csv")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "models", help="default: %(default)s")
    parser.add_argument("--list-features", action="store_true", help="print the names that are needed, and end")
    arguments = parser.parse_args()
    if arguments.list_features:
        print(",".join(all_features()))
        return
    if not arguments.bars or not arguments.features:
        parser.error("--bars and --features are needed")

    series = read_all(arguments.bars, arguments.features, all_features())
    first, last = min(s.time[0] for s in series), max(s.time[-1] for s in series)
    cut = first + int((last - first) * TRAIN_SHARE)
    print(f"{len(series)} series, {sum(len(s.time) for s in series)} bars; trained before, tested after:", end=" ")
    print(np.datetime64(int(cut), "s"))
    for model in MODELS:
        train(model, series, first, cut, arguments.out)


if __name__ == "__main__":
    main()
