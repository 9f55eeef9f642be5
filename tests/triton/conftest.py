"""One server for all tests, with the Triton repositories of two real exports."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import torchestimator as te
from tests.triton.models import digits, digits_fn, exported, paint, paint_fn
from tests.triton.server import ENVIRONMENT, TritonServer
from torchestimator.export.signature import PREDICT, Signature
from torchestimator.export.tensor_info import TensorInfo
from torchestimator.export.triton import write_triton_repository


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    missing = pytest.mark.skip(reason="needs .venv-triton, which `make setup-triton` builds")
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.triton)
            if not (ENVIRONMENT / "bin" / "python").exists():
                item.add_marker(missing)


@dataclass(frozen=True)
class Exported:
    """A model as it was trained and as it was exported."""

    estimator: te.Estimator
    path: Path
    loaded: te.export.LoadedExport


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The exports by the name of their models."""
    models = {}
    for name, model_fn, rows_fn, batch in (
        ("digits", digits_fn, digits, None),
        ("paint", paint_fn, paint, None),
        ("fixed", paint_fn, paint, 3),
    ):
        estimator, path = exported(model_fn, rows_fn, tmp_path_factory.mktemp("models") / name, batch)
        models[name] = Exported(estimator, Path(path), te.export.load(path, num_threads=1))
    return models


def write_large(digits, repository, folder):
    """The digits model in the form that models over 2 GB have: its data in a file beside it."""
    onnx.save_model(
        onnx.load(digits.path / "serving_default" / "model.onnx"),
        folder / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=1024,
    )
    signatures = digits.loaded.info.serving
    files = {"serving_default": str(folder / "model.onnx")}
    write_triton_repository(repository, "large", files, {}, signatures, int(digits.path.name))


def write_flat(repository, folder):
    """A model that gives back its strings of shape [batch]."""
    infos = [helper.make_tensor_value_info(name, TensorProto.STRING, ["batch"]) for name in ("text", "same")]
    graph = helper.make_graph([helper.make_node("Identity", ["text"], ["same"])], "flat", infos[:1], infos[1:])
    path = folder / "model.onnx"
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    tensors = {name: TensorInfo(name, "DT_STRING", (-1,), ("batch",)) for name in ("text", "same")}
    signature = Signature(PREDICT, {"text": tensors["text"]}, {"same": tensors["same"]}, {})
    write_triton_repository(
        repository, "flat", {"serving_default": str(path)}, {}, {"serving_default": signature}, version=1
    )


@pytest.fixture(scope="session")
def server(models, tmp_path_factory):
    """The running server."""
    repository = tmp_path_factory.mktemp("repository")
    for each in models.values():
        shutil.copytree(each.path / "triton", repository, dirs_exist_ok=True)
    write_large(models["digits"], repository, tmp_path_factory.mktemp("large"))
    write_flat(repository, tmp_path_factory.mktemp("flat"))
    with TritonServer(repository, tmp_path_factory.mktemp("server")) as running:
        yield running
