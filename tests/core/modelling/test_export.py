import subprocess
import sys
from io import BytesIO

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError
from cxr_core.modelling import export
from cxr_core.modelling.export import OPSET, export_onnx, state_dict_bytes
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.modelling.weights import digest_state_dict
from cxr_core.settings_sections import ModelSettings

TINY = ModelSettings(backbone="test_efficientnet", weights="none")

IN_ANOTHER_PROCESS = """
import numpy as np
from cxr_core.digests import digest_bytes
from cxr_core.modelling.export import export_onnx, state_dict_bytes
from cxr_core.modelling.network import build_classifier
from cxr_core.settings_sections import ModelSettings
model = build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 1).model
sample = np.random.default_rng(0).normal(size=(4, 3, 64, 64)).astype(np.float32)
print(digest_bytes(state_dict_bytes(model.state_dict())), digest_bytes(export_onnx(model, sample).data))
"""


@pytest.fixture(scope="module")
def model() -> Classifier:
    return build_classifier(TINY, 3, 1).model


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(4, 3, 64, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def onnx_bytes(model: Classifier, sample: np.ndarray) -> bytes:
    return export_onnx(model, sample).data


def test_onnx_takes_any_batch_and_equals_torch(model: Classifier, onnx_bytes: bytes) -> None:
    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["input"]
    assert [entry.name for entry in session.get_outputs()] == ["logits"]
    model.eval()
    for n in (1, 2, 5):
        x = np.random.default_rng(n).normal(size=(n, 3, 64, 64)).astype(np.float32)
        with torch.inference_mode():
            expected = model(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(session.run(None, {"input": x})[0], expected, rtol=0, atol=1e-4)


def test_onnx_states_its_opset_and_names_no_folder_of_this_machine(onnx_bytes: bytes) -> None:
    proto = onnx.load_from_string(onnx_bytes)
    onnx.checker.check_model(proto)
    assert {entry.version for entry in proto.opset_import if entry.domain == ""} == {OPSET}
    assert b".py" not in onnx_bytes
    assert b"site-packages" not in onnx_bytes


def test_export_leaves_the_model_alone(model: Classifier, sample: np.ndarray) -> None:
    before = digest_state_dict(model.state_dict())
    model.train()
    export_onnx(model, sample)
    assert model.training
    assert digest_state_dict(model.state_dict()) == before


@pytest.mark.slow
def test_equal_models_give_equal_files_in_another_process(
    model: Classifier, sample: np.ndarray, onnx_bytes: bytes
) -> None:
    ran = subprocess.run([sys.executable, "-c", IN_ANOTHER_PROCESS], capture_output=True, text=True, check=True)
    expected = digest_bytes(state_dict_bytes(model.state_dict())), digest_bytes(onnx_bytes)
    assert tuple(ran.stdout.split()) == expected
    assert ran.stderr == ""
    assert export_onnx(model, sample).data == onnx_bytes


def test_an_export_that_differs_is_refused(
    model: Classifier, sample: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export._run
    monkeypatch.setattr(export, "_run", lambda data, x: real(data, x) + 0.001)
    with pytest.raises(CxrError, match=r"differ from PyTorch's by 0\.001"):
        export_onnx(model, sample)


def test_state_dict_bytes_do_not_depend_on_memory_layout_and_load_safely(model: Classifier) -> None:
    state = model.state_dict()
    strided = {k: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in state.items()}
    data = state_dict_bytes(state)
    assert state_dict_bytes(strided) == data
    loaded = torch.load(BytesIO(data), weights_only=True)
    assert digest_state_dict(loaded) == digest_state_dict(state)
