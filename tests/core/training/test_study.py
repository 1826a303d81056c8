import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.settings import Settings, load_settings
from cxr_core.settings_sections import TuningSettings
from cxr_core.training import tuning
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.study import OpenTrial, PrunedError, Study, open_study
from cxr_core.training.trials import Outcome, space_of
from cxr_core.training.tuning import tune

KILLABLE = Path(__file__).with_name("killable_study.py")
SPACE = TuningSettings(epochs=5, startup_trials=2, prune_after_epochs=1)


def epoch(number: int, loss: float, log_loss: float | None = None, frozen: bool = False) -> dict[str, Any]:
    value = loss if log_loss is None else log_loss
    return {"epoch": number, "frozen": frozen, "val_loss": loss, "val_log_loss": value, "val_macro_auc": 0.5}


def play(study: Study, values: Sequence[float], frozen: int = 0) -> Outcome:
    """A trial that reports these losses, its first epochs frozen."""
    trial = study.begin()
    try:
        for number, value in enumerate(values, 1):
            trial.report(epoch(number, value, frozen=number <= frozen))
    except PrunedError:
        return study.finish(trial, "pruned")
    return study.finish(trial, "complete")


def quality(hyper: Hyperparameters) -> float:
    """A smooth made-up log loss of a point."""
    return (np.log10(hyper.learning_rate) + 4) ** 2 + hyper.dropout + 0.1 * hyper.focal_gamma


def kept_trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="cxr", storage=f"sqlite:///{folder}/study.db").get_trials()


def test_a_trial_worse_than_the_median_of_the_earlier_ones_is_pruned(tmp_path: Path) -> None:
    with open_study(tmp_path, SPACE, {}) as study:
        assert [play(study, [0.9, 0.7, 0.5, 0.4, 0.3]).state for _ in range(2)] == ["complete"] * 2
        worse = play(study, [0.95, 0.8, 0.2, 0.1, 0.1])
        better = play(study, [0.95, 0.6, 0.5, 0.4, 0.2])
    assert (worse.state, worse.log_loss, len(worse.history)) == ("pruned", 0.8, 2)
    assert (better.state, better.log_loss, len(better.history)) == ("complete", 0.2, 5)


def test_nothing_is_pruned_before_the_startup_trials_nor_without_a_pruner(tmp_path: Path) -> None:
    bad = [2.0, 2.0, 2.0, 2.0, 2.0]
    with open_study(tmp_path / "median", SPACE, {}) as study:
        assert [play(study, values).state for values in ([0.1] * 5, bad, bad)] == ["complete", "complete", "pruned"]
    with open_study(tmp_path / "none", SPACE.model_copy(update={"pruner": "none"}), {}) as study:
        assert [play(study, values).state for values in ([0.1] * 5, [0.1] * 5, bad)] == ["complete"] * 3


def test_frozen_epochs_count_for_nothing_in_pruning(tmp_path: Path) -> None:
    with open_study(tmp_path, SPACE, {}) as study:
        for _ in range(2):
            play(study, [0.9, 0.7, 0.5, 0.4, 0.3])
        # As bad as can be for three epochs, and in its first unfrozen one; then as good as the others in their second.
        late = play(study, [3.0, 3.0, 3.0, 2.0, 0.6], frozen=3)
        judged = play(study, [0.1, 3.0, 3.0, 3.0, 3.0], frozen=1)
        worse = play(study, [3.0, 3.0, 3.0, 3.0, 3.0], frozen=2)
    assert late.state == "complete"
    assert judged.state == "complete"  # the frozen epoch is the one that training would keep
    assert (worse.state, len(worse.history)) == ("pruned", 4)  # the second unfrozen epoch


def test_the_last_epoch_prunes_nothing_any_more(tmp_path: Path) -> None:
    with open_study(tmp_path, SPACE, {}) as study:
        for _ in range(2):
            play(study, [0.9, 0.7, 0.5, 0.4, 0.3])
        assert play(study, [0.9, 0.7, 0.5, 0.4, 0.9], frozen=3).state == "complete"


def test_the_pruner_sees_the_log_loss_of_the_epoch_that_training_keeps(tmp_path: Path) -> None:
    with open_study(tmp_path, SPACE, {}) as study:
        for _ in range(2):
            play(study, [0.9, 0.7, 0.5, 0.4, 0.3])
        trial = study.begin()
        trial.report(epoch(1, 0.5, log_loss=0.65))
        trial.report(epoch(2, 0.6, log_loss=9.0))  # training keeps the first epoch, .65 <= .7
        with pytest.raises(PrunedError):
            trial.report(epoch(3, 0.4, log_loss=0.66))  # and now the third, .66 > .5
        outcome = study.finish(trial, "pruned")
    assert outcome.log_loss == 0.66
    assert [row["val_log_loss"] for row in outcome.history] == [0.65, 9.0, 0.66]


def test_an_interrupted_trial_is_done_again_with_the_same_parameters_and_counts_once(tmp_path: Path) -> None:
    with open_study(tmp_path, SPACE, {}) as study:
        for _ in range(3):
            play(study, [0.5] * 5)
        cut = study.begin()
        cut.report(epoch(1, 0.4))
        (cut.folder / "x").parent.mkdir(parents=True)
        (cut.folder / "x").write_text("state")
    with open_study(tmp_path, SPACE, {}) as study:
        assert [outcome.trial for outcome in study.outcomes()] == [0, 1, 2]
        again = study.begin()
        assert (again.number, again.hyper, again.seed, again.folder) == (3, cut.hyper, cut.seed, cut.folder)
        assert (again.folder / "x").read_text() == "state"
        study.finish(again, "diverged")
        assert not again.folder.exists()
    trials = kept_trials(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3 + [TrialState.FAIL, TrialState.PRUNED]
    assert trials[3].user_attrs["state"] == "interrupted"
    assert trials[3].params == trials[4].params


def test_a_trial_given_its_history_is_that_of_the_whole_study(tmp_path: Path) -> None:
    def run(study: Study) -> tuple[OpenTrial, Outcome]:
        trial = study.begin()
        trial.report(epoch(5, quality(trial.hyper)))
        return trial, study.finish(trial, "complete")

    with open_study(tmp_path / "whole", SPACE, {}) as study:
        whole = [run(study) for _ in range(7)]
    past = kept_trials(tmp_path / "whole")
    for number, (trial, _) in enumerate(whole):
        np.random.seed(number)  # the global stream is none of a trial's business
        folder = tmp_path / f"from-{number}"
        folder.mkdir()
        begun = optuna.create_study(storage=f"sqlite:///{folder}/study.db", study_name="cxr")
        for earlier in past[:number]:
            begun.add_trial(
                optuna.trial.create_trial(
                    params=earlier.params,
                    distributions=earlier.distributions,
                    value=earlier.value,
                    user_attrs=earlier.user_attrs,
                    intermediate_values=earlier.intermediate_values,
                )
            )
        with open_study(folder, SPACE, {}) as study:
            alone = study.begin()
        assert (alone.number, alone.hyper, alone.seed) == (number, trial.hyper, trial.seed)
    assert len({trial.hyper for trial, _ in whole}) == 7
    assert [outcome.hyper for _, outcome in whole] == [trial.hyper for trial, _ in whole]


def test_one_process_works_on_a_study_at_a_time(tmp_path: Path) -> None:
    second = open_study(tmp_path, SPACE, {})
    with open_study(tmp_path, SPACE, {}), pytest.raises(CxrError, match="Another process"):
        second.__enter__()
    with open_study(tmp_path, SPACE, {}) as study:
        assert study.outcomes() == []


def test_a_damaged_study_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"not a database" * 100)
    with pytest.raises(CxrError, match=r"study\.db cannot be used .* delete its folder"):
        open_study(tmp_path, SPACE, {}).__enter__()


def test_a_trial_has_one_epoch_at_least_that_is_not_frozen() -> None:
    assert (space_of(SPACE)["freeze_epochs"].low, space_of(SPACE)["freeze_epochs"].high) == (0, 4)  # type: ignore[attr-defined]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[Hyperparameters]:
    """Trials that train nothing: each has the quality of its point. Gives the points tried, in order."""
    tried: list[Hyperparameters] = []

    def train(*args: Any, on_epoch: Any, **kwargs: Any) -> None:
        tried.append(args[4].hyper)
        on_epoch(epoch(1, quality(args[4].hyper)))

    monkeypatch.setattr(tuning, "train", train)
    return tried


def settings(**changes: Any) -> Settings:
    return load_settings({"network.backbone": "test_efficientnet", "network.weights": "none", **changes})


def test_a_finished_study_is_read_back_and_more_trials_go_on_with_it(
    scripted: list[Hyperparameters], preprocessing: Preprocessing, blobs: Any, tmp_path: Path
) -> None:
    def search(trials: int, folder: Path) -> tuning.TuningResult:
        more = {"tuning.trials": trials, "tuning.max_images": 12, "training.max_epochs": trials}
        return tune(blobs(18, 32, 1), blobs(9, 32, 2), preprocessing, settings(**more), studies=folder)

    four = search(4, tmp_path / "a")
    assert len(scripted) == 4
    again = search(4, tmp_path / "a")
    assert len(scripted) == 4
    assert again.trials.equals(four.trials)
    assert again.best == four.best
    seven = search(7, tmp_path / "a")
    assert len(scripted) == 7
    assert seven.trials.equals(search(7, tmp_path / "b").trials)
    assert search(4, tmp_path / "a").trials.equals(four.trials)
    assert len(list((tmp_path / "a").iterdir())) == 1


def test_a_study_of_other_films_or_settings_is_a_new_study(
    scripted: list[Hyperparameters], preprocessing: Preprocessing, blobs: Any, tmp_path: Path
) -> None:
    base = {"tuning.trials": 1}

    def search(train: Any, val: Any, **changes: Any) -> int:
        """How many trials were run."""
        before = len(scripted)
        tune(train, val, preprocessing, settings(**{**base, **changes}), studies=tmp_path)
        return len(scripted) - before

    films, held_out = blobs(18, 32, 1), blobs(9, 32, 2)
    assert search(films, held_out) == 1
    assert search(films, held_out) == 0
    assert search(blobs(18, 32, 3), held_out) == 1  # other training films
    assert search(films, blobs(9, 32, 4)) == 1  # other validation films
    relabelled = type(films)(films.frames, films.labels[::-1].copy(), films.keys)
    assert search(relabelled, held_out) == 1
    for changes in (
        {"tuning.seed": 43},
        {"tuning.startup_trials": 2},
        {"tuning.pruner": "none"},
        {"tuning.focal_gamma": (1.0, 2.0)},
        {"training.sampling": "balanced"},
        {"loss.alpha": 0.5},
        {"augmentation.rotation_degrees": 5.0},
    ):
        assert search(films, held_out, **changes) == 1, changes
    assert search(films, held_out, **{"training.learning_rate": 0.5, "training.max_epochs": 3}) == 0  # tuned, not used


def run_killable(studies: Path, out: Path, kill_at: str = "") -> str:
    """What a search said; it is killed with -9 as soon as it says ``kill_at``."""
    command = [sys.executable, str(KILLABLE), str(studies), str(out)]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.strip())
            if line.strip() == kill_at:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == (-signal.SIGKILL if kill_at else 0)
    return "\n".join(said)


@pytest.mark.slow
def test_a_search_killed_twice_in_mid_trial_ends_like_one_that_was_not(tmp_path: Path) -> None:
    run_killable(tmp_path / "whole", tmp_path / "whole.txt")
    killed = tmp_path / "killed"
    run_killable(killed, tmp_path / "killed.txt", "trial 1 epoch 2")
    (study,) = killed.iterdir()
    assert [trial.state for trial in kept_trials(study)] == [TrialState.COMPLETE, TrialState.RUNNING]
    said = run_killable(killed, tmp_path / "killed.txt", "trial 3 epoch 1")
    assert "resumed in epoch" in said  # the trial goes on inside, too
    assert not (tmp_path / "killed.txt").exists()
    run_killable(killed, tmp_path / "killed.txt")
    assert (tmp_path / "killed.txt").read_text() == (tmp_path / "whole.txt").read_text()

    trials = kept_trials(study)
    cut = [trial for trial in trials if trial.state == TrialState.FAIL]
    finished = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(trials) == len(cut) + len(finished) == 7
    assert len({tuple(trial.params.items()) for trial in finished}) == 5
    assert [trial.params for trial in cut] == [finished[1].params, finished[3].params]
    assert not any((study / "trials").iterdir())
