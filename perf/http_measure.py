"""Starts the three servers, has wrk ask them in turn, and prints what came of it; see perf/http."""

import json
import os
import pathlib
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

from onnx import TensorProto, helper

FEATURES = ["ret_1", "ret_3", "ret_5", "ret_10", "body_ratio", "rsi_14", "stoch_d", "willr_14", "zscore_20", "adx_14"]
TREES, DEPTH = 200, 5
# By the number of connections: rounds, in each of which every server has a turn, and those of them that FastAPI has one in too.
ROUNDS = {1: 8, 32: 8}
ROUNDS_FASTAPI = {1: 3, 32: 8}
SECONDS = 2


def trees():
    """A regressor of 200 full trees of depth 5 over random features and thresholds."""
    chance = random.Random(1)
    nodes = {name: [] for name in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")}
    leaves = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    inner = 2**DEPTH - 1
    for tree in range(TREES):
        for node in range(2 * inner + 1):
            leaf = node >= inner
            nodes["treeids"].append(tree)
            nodes["nodeids"].append(node)
            nodes["featureids"].append(0 if leaf else chance.randrange(len(FEATURES)))
            nodes["modes"].append("LEAF" if leaf else "BRANCH_LEQ")
            nodes["values"].append(0.0 if leaf else chance.uniform(-1, 1))
            nodes["truenodeids"].append(0 if leaf else 2 * node + 1)
            nodes["falsenodeids"].append(0 if leaf else 2 * node + 2)
            if leaf:
                leaves["treeids"].append(tree)
                leaves["nodeids"].append(node)
                leaves["ids"].append(0)
                leaves["weights"].append(chance.gauss(0, 0.01))
    attributes = {f"nodes_{name}": values for name, values in nodes.items()}
    attributes |= {f"target_{name}": values for name, values in leaves.items()}
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(FEATURES)])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(helper.make_graph([node], "trees", [x], [y]), opset_imports=opsets, ir_version=8)


def write_models(folder):
    version = folder / "models/trees/1"
    version.mkdir(parents=True, exist_ok=True)
    (version / "model.onnx").write_bytes(trees().SerializeToString())
    manifest = f'symbol = "*"\ntimeframe = "1m"\nhorizon = 1\nfeatures = {json.dumps(FEATURES)}\n'
    (version / "model.toml").write_text(manifest)
    (folder / "models/trees/promoted").write_text("1\n")
    return folder / "models", version / "model.onnx"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def pin(process, cores):
    """Keeps all threads of a process, and those they will start, on these cores."""
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        os.sched_setaffinity(int(thread), cores)


def start(command, **more):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, **more)


def ask(address, body):
    request = urllib.request.Request(f"http://{address}/v2/models/trees/infer", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def wrk(address, script, connections, core=None):
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    command = pinned + ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", str(script), f"http://{address}/v2/models/trees/infer"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    amount, unit = re.search(r"50%\s+([0-9.]+)(us|ms|s)", said).groups()
    return float(amount) * {"us": 1, "ms": 1e3, "s": 1e6}[unit], float(re.search(r"Requests/sec:\s+([0-9.]+)", said).group(1))


def turns(servers, addresses, script):
    """Rounds of turns, one server after the other, each of them first as often as last: a machine that changes its mood
    does so for all."""
    cores = os.sched_getaffinity(0)
    one, other = sorted(cores)[0], sorted(cores)[-1]
    seen = {}

    def turn(name, connections, core=None):
        seen.setdefault((name, connections, core is not None), []).append(wrk(addresses[name], script, connections, core))

    for connections, rounds in ROUNDS.items():
        for at in range(rounds):
            names = ["vela", "bare", "fastapi"] if at < ROUNDS_FASTAPI[connections] else ["vela", "bare"]
            first = at % len(names)
            for name in names[first:] + names[:first]:
                turn(name, connections)
    # Once more with one connection, where the system has no choice of cores: wrk has one and the server the other.
    for name in ("vela", "bare"):
        pin(servers[name], {other})
    for at in range(ROUNDS[1]):
        for name in ("vela", "bare") if at % 2 == 0 else ("bare", "vela"):
            turn(name, 1, one)
    print(f"{TREES} trees of depth {DEPTH}, one row, JSON, keep-alive; turns of {SECONDS} s, the median of them (all in their order)\n")
    median = {}
    for (name, connections, pinned), all in seen.items():
        p50 = statistics.median(us for us, _ in all)
        rate = statistics.median(rate for _, rate in all)
        median[name, connections, pinned] = (p50, rate)
        where = ", a core for each side" if pinned else ""
        every = " ".join(f"{us:.0f}" if connections == 1 else f"{rate:.0f}" for us, rate in all)
        print(f"{name:<8} {connections:>2} connections{where}: p50 {p50:>6.1f} µs, {rate:>8.0f} requests/s ({every})")
    print()
    for connections, pinned, what in ((1, False, "1 connection"), (1, True, "1 connection, a core for each side"), (32, False, "32 connections")):
        (p50, rate), (bare_p50, bare_rate) = median["vela", connections, pinned], median["bare", connections, pinned]
        print(f"vela over bare, {what}: p50 {p50 / bare_p50:.2f}, time a request {bare_rate / rate:.2f}")
    for name in ("vela", "bare"):
        rates = [[rate for _, rate in seen[server, 32, False]] for server in (name, "fastapi")]
        by_round = [ours / theirs for ours, theirs in zip(*rates)]
        print(
            f"{name} over FastAPI, 32 connections: {statistics.median(rates[0]) / statistics.median(rates[1]):.1f} times the requests a second; "
            f"by round {statistics.median(by_round):.1f} ({' '.join(f'{ratio:.1f}' for ratio in by_round)})"
        )


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    models, model = write_models(folder)
    row = [0.125 * n - 0.5 for n in range(len(FEATURES))]
    body = {"inputs": [{"name": "x", "shape": [1, len(FEATURES)], "datatype": "FP32", "data": row}]}
    script = folder / "post.lua"
    script.write_text(f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = '{json.dumps(body)}'\n")
    port = free_port()
    here = pathlib.Path(__file__).parent
    uvicorn = [sys.executable, "-m", "uvicorn", "http_fastapi:app", "--workers", "2", "--port", str(port)]
    uvicorn += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    servers = {
        "vela": start([program, "vela", str(models)]),
        "bare": start([program, "bare", str(model)]),
        "fastapi": start(uvicorn, cwd=here, env=os.environ | {"MODEL": str(model)}),
    }
    try:
        addresses = {name: servers[name].stdout.readline().strip() for name in ("vela", "bare")}
        addresses["fastapi"] = f"127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        answers = {}
        while len(answers) < 3:
            for name, address in addresses.items():
                try:
                    answers[name] = ask(address, json.dumps(body).encode())["outputs"][0]["data"][0]
                except OSError:
                    assert time.monotonic() < deadline, f"{name} does not answer"
            time.sleep(0.1)
        assert max(answers.values()) - min(answers.values()) < 1e-5, answers
        for address in addresses.values():
            wrk(address, script, 32)
        turns(servers, addresses, script)
    finally:
        for server in servers.values():
            os.killpg(server.pid, signal.SIGTERM)


main()
