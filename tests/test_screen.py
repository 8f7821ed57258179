from scoremix.cli.screen import console, progress


def test_a_pipe_is_wide_and_shows_no_progress(capsys):
    assert console().width == 120
    with progress("working"):
        pass
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    with progress("working"):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert "working" in err
