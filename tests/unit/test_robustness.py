"""The tables of docs/recovery.md: means and ranges are right, and they get to their place."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from bench import robustness
from bench.robustness import BEGIN, END, PAGE, Run, main, report, write
from viewer_personas.demo.detection import Change, Detection, Wait
from viewer_personas.demo.recovery import PersonaRecovery, Recovery
from viewer_personas.errors import InputError
from viewer_personas.rules.check import read_personas

DUE = date(2026, 3, 28)


def made_run(seed: int, noise: float, recovered: int, days_late: int | None) -> Run:
    """Ten bingers of which some are recovered and the others casual; nobody is a sleeper. One
    change, found some days after its due date or never."""
    confusion = {"binger": {"binger": recovered, "casual": 10 - recovered}}
    change = Change(
        user_id="any",
        behaviour="binger",
        before="casual",
        starts_on=DUE - timedelta(days=27),
        wait=Wait(27, "because"),
        due_on=DUE,
        found_on=None if days_late is None else DUE + timedelta(days=days_late),
        matched_on=DUE,
        is_counted=True,
    )
    return Run(
        seed,
        noise,
        Recovery(
            as_of_date=date(2026, 4, 29),
            viewers=10,
            viewers_without_persona=0,
            viewers_without_truth=0,
            personas=[
                PersonaRecovery("binger", 10, recovered, recovered),
                PersonaRecovery("sleeper", 0, 0, 0),
            ],
            unknown=[],
            confusion=confusion,
        ),
        Detection.of([change]),
    )


RUNS = [
    made_run(7, 1.0, 10, 0),  # F1 1
    made_run(8, 1.0, 6, 7),  # F1 12/16
    made_run(7, 2.0, 6, 8),
    made_run(8, 2.0, 6, None),
]


def test_means_and_ranges_over_the_seeds_of_each_noise() -> None:
    lines = report(RUNS, 1000, 120).splitlines()
    assert lines[0].startswith("1,000 viewers, 120 days, seeds 7, 8;")
    assert "| F1 | noise 1 | noise 2 |" in lines
    assert "| **macro F1** | 0.875 (0.750 to 1.000) | 0.750 (0.750 to 0.750) |" in lines
    assert "| binger | 0.875 (0.750 to 1.000) | 0.750 (0.750 to 0.750) |" in lines
    assert "| sleeper | – | – |" in lines


def test_confusions_and_changes_are_of_all_seeds_together() -> None:
    text = report(RUNS, 1000, 120)
    quiet, noisy = text.split("Largest confusions, noise 2")
    assert "| binger | casual | 4 | 20 % |" in quiet
    assert "| binger | casual | 8 | 40 % |" in noisy
    quiet, noisy = text.split("Changes, noise 2")
    assert "| binger | 2 | 2 | 27 | 27 | 2 | 100 % | 100 % |" in quiet.split("Changes, noise 1")[1]
    assert "| all | 2 | 2 |  | 35 | 0 | 0 % | 100 % |" in noisy


def test_the_days_to_wait_are_given_for_every_persona() -> None:
    waits = report(RUNS, 1000, 120).split("Days to wait, ")[1]
    assert "| newcomer | 0 | days since first known: tells of the time before the change |" in waits
    for row in read_personas():
        assert f"| {row.persona} | " in waits


def test_the_tables_replace_those_between_the_markers_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = tmp_path / PAGE
    page.write_text(f"# Recovery\n\n{BEGIN}\nof before\n{END}\n\nRead so.\n", encoding="utf-8")
    for _ in range(2):
        write("| new |\n", tmp_path)
        text = page.read_text(encoding="utf-8")
        assert text == f"# Recovery\n\n{BEGIN}\n| new |\n{END}\n\nRead so.\n"


@pytest.mark.parametrize("page", ["", "# Recovery\n", f"{BEGIN}\n", f"{BEGIN}\n{END}\n" * 2])
def test_a_page_without_one_place_for_the_tables_is_left_as_it_is(
    tmp_path: Path, page: str
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / PAGE).write_text(page, encoding="utf-8")
    with pytest.raises(InputError, match="no place for the tables"):
        write("| new |\n", tmp_path)
    assert (tmp_path / PAGE).read_text(encoding="utf-8") == page


def test_the_page_of_the_project_has_its_place() -> None:
    text = (Path(__file__).parents[2] / PAGE).read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1


def test_every_seed_is_built_with_every_noise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written with --print-only."""
    built = []

    def run(directory: Path, viewers: int, days: int, seed: int, noise: float) -> Run:
        built.append((viewers, days, seed, noise))
        return made_run(seed, noise, 6, 0)

    def refuse(text: str) -> None:
        raise AssertionError(text)

    monkeypatch.setattr(robustness, "run", run)
    monkeypatch.setattr(robustness, "write", refuse)
    arguments = ["--viewers", "50", "--days", "90", "--seeds", "1", "2", "--noise", "0", "3"]
    assert main([*arguments, "--print-only"]) == 0
    assert built == [(50, 90, seed, noise) for noise in (0.0, 3.0) for seed in (1, 2)]
    assert "noise 0 | noise 3" in capsys.readouterr().out


def test_a_number_out_of_range_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--viewers", "0", "--seeds", "7", "--noise", "1", "--print-only"]) == 2
    assert "Error: viewers is 0" in capsys.readouterr().err
