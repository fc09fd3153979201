"""The web server of the playground: one page and three questions, below an address that only its user knows."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel, StringConstraints
from starlette.middleware.trustedhost import TrustedHostMiddleware

from headtohead.core.errors import InputError
from headtohead.experiments import page
from headtohead.experiments.playground.classifiers import Classifiers

FOLDER = Path(__file__).parent
MOST_TEXTS, LONGEST_TEXT = 200, 20_000
LARGEST_BODY = 2_000_000  # bytes
Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]


class Question(BaseModel):
    """Some messages for one run's classifier."""

    run: str
    texts: list[Text]


class OneText(BaseModel):
    """One message, for the influence of its tokens."""

    run: str
    text: Text


def make_app(classifiers: Classifiers, token: str) -> FastAPI:
    """The application; everything outside ``/token/`` is not found."""
    app = FastAPI(title="headtohead playground", docs_url=None, redoc_url=None, openapi_url=None)
    # A page elsewhere that has its own name point to this machine is not let in.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    html, policy = _page(classifiers)

    @app.middleware("http")
    async def guarded(request: Request, call_next: Any) -> Response:
        if not request.headers.get("content-length", "0").isdigit():
            return JSONResponse({"detail": "no length"}, 411)
        if int(request.headers.get("content-length", "0")) > LARGEST_BODY:
            return JSONResponse({"detail": "more than 2 MB of text at once; send fewer messages"}, 413)
        answer: Response = await call_next(request)
        answer.headers["Content-Security-Policy"] = policy
        answer.headers["Referrer-Policy"] = "no-referrer"  # the address holds the token
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    @app.exception_handler(InputError)
    async def sentence(request: Request, error: InputError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @app.get(f"/{token}/", response_class=HTMLResponse)
    def show() -> str:
        return html

    @app.post(f"/{token}/classify")
    def classify(question: Question) -> dict[str, Any]:
        _known(classifiers, question.run)
        if not 1 <= len(question.texts) <= MOST_TEXTS:
            raise InputError(f"{len(question.texts)} messages at once; send from 1 to {MOST_TEXTS}")
        answers, seconds = classifiers.classify(question.run, question.texts)
        return {"answers": [asdict(answer) for answer in answers], "seconds": seconds}

    @app.post(f"/{token}/influence")
    def influence(question: OneText) -> dict[str, Any]:
        _known(classifiers, question.run)
        return {"pieces": [asdict(piece) for piece in classifiers.influence(question.run, question.text)]}

    return app


def _known(classifiers: Classifiers, run: str) -> None:
    if run not in classifiers.runs:
        raise HTTPException(404, "there is no such run")


def _page(classifiers: Classifiers) -> tuple[str, str]:
    """The page and its policy: it may ask this server, and nothing else."""
    style = page.style() + (FOLDER / "playground.css").read_text(encoding="utf-8")
    parts = [(page.FOLDER / "base.js"), FOLDER / "playground.js"]
    script = (
        '(() => {\n"use strict";\n'
        + "\n".join(each.read_text(encoding="utf-8") for each in parts)
        + "})();\n"
    )
    runs = [
        {"id": run_id, "label": record.label, "accuracy": record.test_accuracy}
        for run_id, record in classifiers.runs.items()
    ]
    data = {
        "runs": runs,
        "labels": classifiers.label_names,
        "most": MOST_TEXTS,
        "examples": [asdict(example) for example in classifiers.examples],
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string((FOLDER / "playground.html.j2").read_text(encoding="utf-8"))
    html = template.render(
        name=classifiers.name,
        demo=classifiers.is_demo,
        style=Markup(style),
        script=Markup(script),
        data=Markup(page.embedded(data)),
    )
    return html, page.policy(style, script) + "; connect-src 'self'"
