"""Checkpoints of other versions: they load where they fit, else it is said which fields and tensors differ."""

import dataclasses
import hashlib
import json
import logging
import shutil

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from lib import config
from lib.apps.evaluate.reference_classifier import load_reference_classifier
from lib.apps.headless.sweep import read_sweep
from lib.apps.server.schemas import SoloOrder
from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints import config_migration
from lib.checkpoints.checkpoint import CheckpointError
from lib.checkpoints.config_migration import (
    config_from,
    config_of_run,
    differences,
    renamed,
    renamed_settings,
)
from lib.checkpoints.load import fingerprint, load_improviser, load_style_encoder, load_vqvae
from lib.config import RELEASED, STAGES, ConfigError, StageConfig, preset
from lib.generation.request import GenerateRequest, request_from
from lib.storage.manifest import read_manifest, write_manifest
from lib.training.loop import train


def rewrite(folder, change, hashes="kept"):
    """Change a manifest as an earlier version would have written it."""
    manifest = read_manifest(folder)
    change(manifest)
    write_manifest(
        folder, {k: v for k, v in manifest.items() if k != "sha256"}, manifest["sha256"] if hashes == "kept" else None
    )


@pytest.fixture
def run(tiny_runs, tmp_path):
    """A function that copies a tiny run and changes the config of its checkpoints."""

    def make(stage, gone=None, missing=(), again=False):
        folder = shutil.copytree(tiny_runs / stage, tmp_path / stage, dirs_exist_ok=again)
        for step in checkpoints.step_folders(folder):
            rewrite(
                step,
                lambda m: m.update(
                    config={k: v for k, v in {**m["config"], **(gone or {})}.items() if k not in missing}
                ),
            )
        return folder

    return make


def test_a_removed_and_a_missing_field_are_said_and_it_loads(run, caplog):
    with caplog.at_level(logging.WARNING):
        vqvae, config = load_vqvae(run("vqvae", {"groups": 12, "onset_weight": 4.0}, ("restart_below", "tempo_spread")))
    said = caplog.text
    assert "groups=12, onset_weight=4.0, removed since" in said
    assert "tempo_spread (0.1 is taken), restart_below (0.5 is taken)" in said
    assert config == preset("vqvae", "tiny") and not vqvae.training


def test_a_config_of_this_version_says_nothing(tiny_runs, caplog):
    with caplog.at_level(logging.WARNING):
        load_vqvae(tiny_runs / "vqvae")
        load_improviser(tiny_runs / "brad_final")
    assert not caplog.text


def test_weights_of_another_size_are_named_with_the_field_that_was_missing(run):
    with pytest.raises(CheckpointError) as error:
        load_vqvae(run("vqvae", {"groups": 12}, ("channels",)))
    said = str(error.value)
    assert "holds weights of another model" in said and "there and" in said and "groups=12" in said
    assert "channels (256 is taken)" in said and "step-0000000" in said and "more." in said
    assert "(64" in said and "(256" in said  # 64 of preset tiny there, 256 here


def test_an_ear_without_a_say_on_what_it_reads_read_piano_rolls(run):
    values = {
        name: value for name, value in dataclasses.asdict(preset("style_encoder", "tiny")).items() if name != "reads"
    }
    assert config_from("style_encoder", values, "x").reads == "roll"
    with pytest.raises(CheckpointError, match=r"reads \('roll' is taken\)"):  # this one reads notes: no such weights
        load_style_encoder(run("style_encoder", missing=("reads",)))


def test_a_value_that_can_not_be_is_named(run):
    with pytest.raises(CheckpointError, match="step-0000000.*decay.*'exponential'"):
        load_vqvae(run("vqvae", {"decay": "exponential"}))


def test_a_finished_folder_of_another_version(tiny_runs, tmp_path, caplog):
    folder = shutil.copytree(tiny_runs / "brad_final", tmp_path / "brad_final")
    rewrite(folder, lambda m: m["configs"]["vqvae"].update(groups=12))
    rewrite(folder, lambda m: m["configs"]["vqvae"].pop("code_dim"))
    with pytest.raises(CheckpointError, match=r"vqvae.safetensors.*code_dim \(8 is taken\)"):
        load_improviser(folder)
    rewrite(folder, lambda m: m["configs"]["vqvae"].update(code_dim=4))
    with caplog.at_level(logging.WARNING):
        load_improviser(folder)
    assert "vqvae is of another version: its config has groups=12, removed since" in caplog.text
    rewrite(folder, lambda m: m["configs"]["dit"].update(objective="v"))
    with pytest.raises(
        CheckpointError, match="dit: its config has objective='v', which this version does not know.*git pull"
    ):
        load_improviser(folder)


def test_a_finished_improviser_in_seconds_is_refused_and_its_codec_is_not(tiny_runs, tmp_path):
    folder = shutil.copytree(tiny_runs / "brad_final", tmp_path / "brad_final")
    since = ("drop_clock", "drop_tempo", "drop_feel", "drop_next_chord", "drop_reference")
    rewrite(folder, lambda m: [m["configs"]["dit"].pop(name) for name in since])
    reason = "brad_final/fine_tune.safetensors.* was made in seconds, before music was coded in beats. Train it again"
    with pytest.raises(CheckpointError, match=f"{reason}.*commit {config.LAST_COMMIT_IN_SECONDS}"):
        load_improviser(folder)
    assert load_vqvae(folder)[1] == preset("vqvae", "tiny") and load_style_encoder(folder)


def test_an_improviser_from_before_there_were_two_transformers(tiny_runs, tmp_path):
    folder = shutil.copytree(tiny_runs / "brad_final", tmp_path / "brad_final")
    (folder / "fine_tune.safetensors").rename(folder / "dit.safetensors")
    rewrite(folder, lambda m: m["configs"]["vqvae"].update(groups=12), hashes="new")
    with pytest.raises(
        CheckpointError, match="another version: it holds.*dit.safetensors.*one of fine_tune.*vqvae.*groups=12"
    ):
        load_improviser(folder)


def test_a_tensor_too_many_and_one_too_few(tiny_runs, tmp_path):
    folder = shutil.copytree(tiny_runs / "brad_final", tmp_path / "brad_final")
    weights = load_file(folder / "fine_tune.safetensors")
    name = next(iter(weights))
    weights["old.weight"] = torch.zeros(1)
    save_file({key: tensor for key, tensor in weights.items() if key != name}, folder / "fine_tune.safetensors")
    rewrite(folder, lambda m: None, hashes="new")
    with pytest.raises(CheckpointError, match=f"{name} is not there, old.weight is there only"):
        load_improviser(folder)


def test_training_goes_on_from_an_earlier_config(run, demo_data):
    runs = run("vqvae", {"groups": 12}, ("velocity_spread",)).parent
    with pytest.raises(CheckpointError, match="velocity_spread: 0.15 in the run, 0.2 requested"):
        train(preset("vqvae", "tiny", steps=6, velocity_spread=0.2), demo_data, runs)
    assert train(preset("vqvae", "tiny", steps=6), demo_data, runs).resumed_from_step == 4


def test_a_run_keeps_what_its_preset_was_unless_told_otherwise(demo_data, tmp_path, monkeypatch, capsys):
    train(preset("vqvae", "tiny", steps=2, lr=5e-4), demo_data, tmp_path)
    with pytest.raises(CheckpointError, match="lr: 0.0005 in the run, 0.001 requested"):
        train(preset("vqvae", "tiny", steps=3), demo_data, tmp_path)
    monkeypatch.setattr(config_migration, "EARLIER_PRESETS", {"vqvae": {"tiny": {"lr": 5e-4}}})
    assert train(preset("vqvae", "tiny", steps=3), demo_data, tmp_path).resumed_from_step == 2
    assert "vqvae keeps what preset tiny was when it was begun: lr=0.0005" in capsys.readouterr().out
    assert config_of_run(tmp_path / "vqvae").lr == 5e-4
    with pytest.raises(CheckpointError, match="lr: 0.0005 in the run, 0.002 requested"):
        train(preset("vqvae", "tiny", lr=2e-3), demo_data, tmp_path)


@pytest.mark.parametrize("stage", STAGES)
def test_earlier_presets_differ_from_those_of_today(stage):
    for name, earlier in config_migration.EARLIER_PRESETS[stage].items():
        today = preset(stage, name)
        assert any(getattr(today, field) != value for field, value in earlier.items())
        assert dataclasses.replace(today, **earlier)


@pytest.mark.parametrize("stage", STAGES)
def test_differences_of_a_whole_config_are_none(stage):
    assert differences(stage, dataclasses.asdict(preset(stage, "tiny"))) == ""


# --- The table of renamed and removed names ------------------------------------------------------------------------

# fingerprint(model) of the released models as commit config.LAST_COMMIT_OF_OLD_LAYOUT computed it: users' styles,
# galleries and encoded codes are kept under these
FINGERPRINTS = {
    "vqvae": "75b06548c9db075af86a6eb717bab02b6e1d5a79169a9b4a87a392b181ee2be3",
    "style_encoder": "931d35ab692284a99a840232168cd66bd2e00a8223d8e786deb9767751164bc1",
    "judge": "2266dd860fbdfa1c1e764f5dd4b6f1304c758a58a56b5a23e2c937548664d27f",
}
STAGE_CONFIGS = tuple(STAGES.values())


def test_fingerprints_of_released_models_never_change():
    models = {"vqvae": load_vqvae(RELEASED)[0], "style_encoder": load_style_encoder(RELEASED)[0]}
    assert {
        name: fingerprint(model)
        for name, model in {**models, "judge": load_reference_classifier().style_encoder}.items()
    } == FINGERPRINTS


def owned_names(owner):
    """The names that an owner of the table has today; None where they can't be listed."""
    kinds = {kind.__name__: kind for kind in (*STAGE_CONFIGS, GenerateRequest, StageConfig)}
    return {field.name for field in dataclasses.fields(kinds[owner])} if owner in kinds else None


@pytest.mark.parametrize("owner", sorted({*config_migration.RENAMED, *config_migration.REMOVED}))
def test_the_table_names_nothing_that_is_there_and_leads_to_what_is(owner):
    renamed, removed = (table.get(owner, {}) for table in (config_migration.RENAMED, config_migration.REMOVED))
    names = owned_names(owner)
    if names is not None:
        assert not names & {*renamed, *removed} and names >= set(renamed.values())
    assert not renamed.keys() & removed.keys() and not renamed.keys() & set(renamed.values())


@pytest.fixture
def table(monkeypatch):
    """Rows as a renaming would add them."""
    rows = {
        "VQVAEConfig": {"channels_of_old": "channels"},
        "GenerateRequest": {"temperature_of_old": "temperature"},
        "VQVAE": {"codebook_of_old": "codebook"},
        "sweep": {"grid_of_old": "grid"},
        "02_vqvae": {"lr_of_old": "lr"},
    }
    monkeypatch.setattr(config_migration, "RENAMED", rows)
    config_migration._announce.cache_clear()


def of_old(names):
    """`names` by their keys, as the earlier version called them."""
    return {f"{name}_of_old" if name == "channels" else name: value for name, value in names.items()}


def test_settings_under_their_earlier_names_are_accepted_with_one_line(table, capsys):
    for _ in range(2):
        assert renamed_settings("vqvae", {"channels_of_old": "64", "lr": "1e-3"}) == {"channels": "64", "lr": "1e-3"}
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith("--set channels_of_old is now called channels")
    with pytest.raises(ConfigError, match="channels is given twice"):
        renamed_settings("vqvae", {"channels": 1, "channels_of_old": 2})
    with pytest.raises(ConfigError, match="--set groups is no longer a setting: the codec has two codes"):
        renamed_settings("vqvae", {"groups": 8})
    with pytest.raises(ConfigError, match="temperature_of_old|Unknown setting"):
        preset("vqvae", "tiny", **renamed_settings("vqvae", {"temperature_of_old": 1.0}))


def test_sizes_of_the_transformer_under_their_earlier_names(capsys):
    config_migration._announce.cache_clear()
    current = renamed_settings("fine_tune", {"hidden": "64", "layers": "2", "drop_knobs": "0.5"})
    assert current == {"width": "64", "depth": "2", "drop_attributes": "0.5"}
    assert "--set hidden is now called width" in capsys.readouterr().out
    values = {**config.as_values(preset("diffusion", "tiny", width=96)), "hidden": 96}
    del values["width"]
    assert config_from("diffusion", values, "a run") == preset("diffusion", "tiny", width=96)


def test_a_request_under_earlier_names(table, capsys):
    assert renamed(GenerateRequest, {"temperature_of_old": 0.5}, "") == {"temperature": 0.5}
    assert request_from({"temperature_of_old": 0.5, "order": "random"}, "x") == GenerateRequest(temperature=0.5)
    with pytest.raises(ConfigError, match="job 7 has tempo='fast', which this version does not know"):
        request_from({"tempo": "fast"}, "job 7")
    assert TypeAdapter(SoloOrder).validate_python({"temperature_of_old": 0.5}).temperature == 0.5


def test_sweeps_and_notebooks_under_earlier_names(table, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("preset: tiny\ngrid_of_old: {02_vqvae.lr_of_old: [1e-3, 3e-4]}\nnotebooks: '02'\n")
    assert read_sweep(path).grid == {"02_vqvae.lr": [1e-3, 3e-4]}


def test_a_checkpoint_under_earlier_names_loads_continues_and_keeps_its_fingerprint(table, run, demo_data):
    before, _ = load_vqvae(run("vqvae"))
    assert {key for key in before.state_dict() if key.startswith("codebook.")}
    original = fingerprint(before)
    folder = run("vqvae", again=True)
    for step in checkpoints.step_folders(folder):
        for path in step.glob("*.safetensors"):
            tensors = {key.replace("codebook.", "codebook_of_old."): tensor for key, tensor in load_file(path).items()}
            save_file(tensors, path)
        rewrite(step, lambda m: m.update(config=of_old(m["config"])), hashes="new")
    after, config = load_vqvae(folder)
    assert config == preset("vqvae", "tiny") and after.state_dict().keys() == before.state_dict().keys()
    assert fingerprint(after) == original
    assert train(preset("vqvae", "tiny", steps=6), demo_data, folder.parent).resumed_from_step == 4
    assert "codebook.embedding" in checkpoints.find(folder).tensors("model")


def test_a_fingerprint_is_of_the_first_names(table, run, monkeypatch):
    model, _ = load_vqvae(run("vqvae"))
    renamed = fingerprint(model)
    monkeypatch.setattr(config_migration, "RENAMED", {})
    assert fingerprint(model) != renamed
    old = hashlib.sha256()
    for name, tensor in sorted(
        (key.replace("codebook.", "codebook_of_old."), value) for key, value in model.state_dict().items()
    ):
        old.update(name.encode() + tensor.to(torch.float16).contiguous().numpy().tobytes())
    assert old.hexdigest() == renamed


def test_the_config_in_a_run_s_folder(table, tiny_runs, tmp_path):
    assert config_of_run(tmp_path) is None
    for stage in STAGES:
        assert config_of_run(tiny_runs / stage) == preset(
            stage, "tiny", **({} if stage != "fine_tune" else sizes(tiny_runs))
        )
    values = json.loads((tiny_runs / "vqvae" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(of_old(values)))
    assert config_of_run(tmp_path) == preset("vqvae", "tiny")
    (tmp_path / "config.json").write_text(json.dumps({**values, "a_knob_of_tomorrow": 1}))
    with pytest.raises(CheckpointError, match="config.json belongs to no stage that this version knows.*git pull"):
        config_of_run(tmp_path)


def sizes(runs):
    """The settings that a fine-tuning run has from the diffusion model that it adapts."""
    values = checkpoints.find(runs / "diffusion").manifest["config"]
    return {name: values[name] for name in config._DIT}
