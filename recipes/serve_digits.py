"""From training to a served model: train on digits, export the best model, serve it, and ask it.

Trains the net of digits.py with an exporter, which writes the model whenever an evaluation is better than all before;
starts `torchestimator serve` as a process of its own; sends it digits that it has not seen, in the JSON of the Open
Inference Protocol v2 (Triton, KServe) and in that of TensorFlow Serving; and compares the answers with `predict`:

    python recipes/serve_digits.py --model-dir runs/serve_digits

For digits of your own, change `load_digits` in digits.py.
"""

import argparse
import contextlib
import json
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from digits import load_digits, model_fn

import torchestimator as te

START_SECS = 60


def train(model_dir: str, max_steps: int) -> te.Estimator:
    """Trains, and exports the model with the best accuracy to `model_dir/export/best`."""
    (train_x, train_y), (test_x, test_y) = load_digits()
    train_input = te.inputs.numpy_input_fn({"image": train_x}, train_y, batch_size=64, num_epochs=None, shuffle=True)
    test_input = te.inputs.numpy_input_fn({"image": test_x}, test_y, batch_size=64, num_epochs=1, shuffle=False)
    receiver = te.export.build_raw_serving_input_receiver_fn({"image": train_x[:8]})
    exporter = te.BestExporter("best", receiver, metric="accuracy", higher_is_better=True, exports_to_keep=2)
    estimator = te.Estimator(
        model_fn,
        config=te.RunConfig(model_dir=model_dir, save_checkpoints_steps=max_steps // 2, random_seed=7),
        params={"width": 16, "learning_rate": 3e-3, "max_steps": max_steps},
    )
    te.train_and_evaluate(
        estimator,
        te.TrainSpec(train_input, max_steps),
        te.EvalSpec(test_input, steps=None, throttle_secs=0, exporters=exporter),
    )
    return estimator


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """Runs `torchestimator serve` in a process of its own; gives its address once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torchestimator", "serve", str(folder), "--port", str(port)]
    process = subprocess.Popen(command)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECS
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/v2/health/ready"):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("The server did not start; its messages are above.")
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


def post(url: str, document: dict) -> dict:
    """Sends JSON and gets JSON."""
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def ask_open_inference(address: str, images: np.ndarray) -> np.ndarray:
    """Probabilities [examples, classes] by the Open Inference Protocol v2, as Triton and KServe speak it."""
    tensor = {"name": "image", "datatype": "FP32", "shape": list(images.shape), "data": images.ravel().tolist()}
    answer = post(f"{address}/v2/models/best/infer", {"inputs": [tensor], "outputs": [{"name": "probabilities"}]})
    (output,) = answer["outputs"]
    return np.array(output["data"]).reshape(output["shape"])


def ask_tensorflow_serving(address: str, image: np.ndarray) -> int:
    """The class of one digit [1, 8, 8] by TensorFlow Serving's REST API."""
    answer = post(f"{address}/v1/models/best:predict", {"instances": [{"image": image.tolist()}]})
    return answer["predictions"][0]["class_ids"][0]


def main() -> None:
    """Runs the recipe and prints a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", default="runs/serve_digits", help="checkpoints and exports go here")
    parser.add_argument("--max-steps", type=int, default=400, help="training steps in all (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="delete the model-dir first")
    arguments = parser.parse_args()
    if arguments.fresh:
        shutil.rmtree(arguments.model_dir, ignore_errors=True)

    estimator = train(arguments.model_dir, arguments.max_steps)
    _, (images, labels) = load_digits()
    exports = Path(arguments.model_dir, "export", "best")
    record = json.loads((exports / "best.json").read_text())
    checkpoint = f"{estimator.model_dir}/model.ckpt-{record['eval_result']['global_step']}"
    rows = estimator.predict(
        te.inputs.numpy_input_fn({"image": images}, shuffle=False), ["probabilities"], checkpoint_path=checkpoint
    )
    expected = np.stack([row["probabilities"] for row in rows])
    with server(exports) as address:
        answers = ask_open_inference(address, images)
        micros, classes = [], []
        for image in images[:100]:
            started = time.perf_counter()
            classes.append(ask_tensorflow_serving(address, image))
            micros.append((time.perf_counter() - started) * 1e6)
    print("\n=== Served digits ===")
    print(f"export            {exports / record['export']}")
    print(f"accuracy          {(answers.argmax(-1) == labels).mean():.4f} of {len(labels)} held-out digits, served")
    print(f"served, predicted probabilities within {np.abs(answers - expected).max():.1e} of predict")
    print(f"one at a time     {np.mean(classes == expected[:100].argmax(-1)):.0%} agree with predict")
    print(f"latency           {statistics.median(micros):.0f} us a digit, connection and JSON included")
    print(f"serve it          .venv/bin/torchestimator serve {exports}")


if __name__ == "__main__":
    main()
