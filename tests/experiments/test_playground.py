"""The playground answers as `headtohead classify` does, to this machine's user alone, in a real browser."""

import http.client
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import headtohead
from headtohead.core import classifier
from headtohead.core.classifier import load_classifier
from headtohead.core.readout import Readout
from headtohead.core.tokens import encode_texts
from headtohead.experiments import report
from headtohead.experiments.playground.__main__ import _socket, main
from headtohead.experiments.playground.classifiers import KEPT, Classifiers
from headtohead.experiments.playground.influence import influences
from tests.browser import Watched, chromium, serious
from tests.experiments.tiny import use_tiny_demo, write_messages

TEXTS = ["WIN 7 pounds NOW", "see you at eight <b>&amp;</b> \u20ac5 日本", "=1+1"]


@dataclass
class Served:
    directory: Path
    classifiers: Classifiers
    port: int
    token: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def post(self, what: str, content: object, headers: dict[str, str] | None = None) -> Any:
        request = urllib.request.Request(
            self.address + what,
            json.dumps(content).encode(),
            {"Content-Type": "application/json", **(headers or {})},
        )
        return json.loads(urllib.request.urlopen(request, timeout=30).read())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Three classifiers of a tiny model, trained for a moment, and the server in a thread."""
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    from headtohead.experiments.playground.server import make_app

    folder = tmp_path_factory.mktemp("playground")
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_demo(patch, folder / "cache")
        patch.setattr(report, "write_report", lambda summary: {})
        data = write_messages(folder / "messages.tsv")
        summary = headtohead.compare(
            ["head", "lora@r=2", "prompt_tuning@tokens=2", "majority"],
            model="demo", data=str(data), seeds=[1], epochs=1, results_dir=folder / "results", name="x",
        )  # fmt: skip
        assert not summary.failed
        directory = folder / "results" / "x"
        classifiers = Classifiers.of(directory)
        listening = _socket(0)
        server = uvicorn.Server(uvicorn.Config(make_app(classifiers, "secret"), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield Served(directory, classifiers, listening.getsockname()[1], "secret")
        server.should_exit = True
        thread.join()


def test_its_probabilities_are_those_of_the_command(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [record.label for record in served.classifiers.runs.values()] == [
        "head", "lora@r=2", "prompt_tuning@tokens=2",
    ]  # fmt: skip  # the baseline leaves no classifier
    for run_id in served.classifiers.runs:
        found = served.post("classify", {"run": run_id, "texts": TEXTS})
        run = served.directory / "runs" / run_id
        expected = load_classifier(run).classify(TEXTS)
        assert [(one["label"], one["probability"]) for one in found["answers"]] == expected
        assert classifier.main([str(run), *TEXTS]) == 0
        lines = [line.split("\t")[:2] for line in capsys.readouterr().out.splitlines()]
        assert lines == [[one["label"], f"{one['probability']:.4f}"] for one in found["answers"]]
        assert all(abs(sum(one["probabilities"].values()) - 1) < 1e-6 for one in found["answers"])


@pytest.mark.parametrize("number", range(3))
def test_influence_is_what_a_slightly_longer_embedding_adds(served: Served, number: int) -> None:
    run_id = list(served.classifiers.runs)[number]
    model = load_classifier(served.directory / "runs" / run_id)
    model.model.double()
    text = TEXTS[0]
    ids, last = encode_texts([text], model.info.max_length)
    positions = Readout(model.info.readout).positions(last, model.info.max_length)

    def margin(place: int, scale: float) -> float:
        def longer(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            changed = output.clone()
            changed[:, place] *= scale
            return changed

        handle = model.model.tok_emb.register_forward_hook(longer)
        with torch.no_grad():
            logits = model.model.class_logits(ids, positions)[0]
        handle.remove()
        return float((logits[best] - logits[1 - best]).item())

    best = int(model.logits([text])[0].argmax())
    pieces = influences(model, text)
    assert "".join(piece.text for piece in pieces[:-1]) == text and pieces[-1].text == "(padding)"
    step = 1e-4
    for place, piece in enumerate(pieces[:-1]):
        slope = (margin(place, 1 + step) - margin(place, 1 - step)) / (2 * step)
        assert piece.influence == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_pieces_hold_whole_characters(served: Served) -> None:
    run_id = next(iter(served.classifiers.runs))
    pieces = served.post("influence", {"run": run_id, "text": TEXTS[1]})["pieces"]
    read = "".join(piece["text"] for piece in pieces if piece["text"] != "(padding)")
    assert TEXTS[1].startswith(read.rstrip("\ufffd")) and len(pieces) > 3


def test_only_this_machine_and_only_with_the_token(served: Served) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{served.port}/", timeout=10)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{served.port}/secrets/", timeout=10)
    with pytest.raises(urllib.error.HTTPError, match="400"):  # a name elsewhere that points to this machine
        served.post("classify", {"run": "x", "texts": ["x"]}, {"Host": "evil.example"})
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in own - {"127.0.0.1"}:
        if str(address).startswith("127."):
            continue
        with pytest.raises(OSError):
            socket.create_connection((str(address), served.port), timeout=2)


def test_bad_questions_are_refused_in_a_sentence(served: Served) -> None:
    run_id = next(iter(served.classifiers.runs))
    for content, code in (
        ({"run": "../../x", "texts": ["x"]}, "404"),
        ({"run": run_id, "texts": []}, "422"),
        ({"run": run_id, "texts": ["x"] * 201}, "422"),
        ({"run": run_id, "texts": ["x" * 20_001]}, "422"),
    ):
        with pytest.raises(urllib.error.HTTPError, match=code):
            served.post("classify", content)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.putrequest("POST", "/secret/classify")
    connection.putheader("Content-Length", "3000000")
    connection.endheaders()
    assert connection.getresponse().status == 413  # before any of it is read
    connection.close()


def test_few_models_are_kept_in_memory(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEPT >= 4
    monkeypatch.setattr("headtohead.experiments.playground.classifiers.KEPT", 1)
    again = Classifiers.of(served.directory)
    for run_id in again.runs:
        again.classify(run_id, ["x"])
    assert list(again._loaded) == [list(again.runs)[-1]]


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "holds no experiment" in capsys.readouterr().err


def test_a_port_that_is_none_is_refused(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(served.directory), "--port", "70000"]) == 2
    assert main([str(served.directory.parent), "--port", str(served.port)]) == 2
    assert "must be from 0" in (said := capsys.readouterr().err) and "choose another" in said


def test_it_works_in_a_browser(served: Served) -> None:
    with chromium() as browser:
        watched = Watched(browser, viewport={"width": 400, "height": 900}, color_scheme="dark")
        page = watched.page
        page.goto(served.address)
        page.get_by_label("Messages").fill("\n".join(TEXTS))
        page.get_by_role("button", name="Classify").click()
        page.get_by_text("3 messages, 3 classifiers").wait_for()
        for run_id in served.classifiers.runs:
            expected = load_classifier(served.directory / "runs" / run_id).classify(TEXTS)
            rows = page.locator(f"tr[data-run='{run_id}']")
            assert rows.locator(".label").all_inner_texts() == [label for label, _ in expected]
            shown = rows.locator(".probability").all()
            assert [float(cell.get_attribute("data-value")) for cell in shown] == [p for _, p in expected]
            assert [cell.inner_text().strip() for cell in shown] == [f"{100 * p:.2f} %" for _, p in expected]
        assert TEXTS[1] in page.locator(".message").nth(1).inner_text()
        page.get_by_role("button", name="why").first.click()
        page.locator(".pieces span").first.wait_for()
        assert "".join(page.locator(".pieces span").all_inner_texts()[:-1]) == TEXTS[0]
        assert re.search("for-|against-", page.locator(".pieces").inner_html())
        assert serious(page) == [] and watched.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        assert all(url.startswith(served.address) or "favicon" in url for url in watched.requests)
