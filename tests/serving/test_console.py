"""The console in a browser: it searches, shows what the index says as text, and can be used by keyboard alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("uvicorn")

import vsearch
from tests.indexes import clustered
from tests.serving.browser import CHROMIUM, chromium
from tests.serving.server import ask, serving
from vsearch.serving.assets import HEADERS, PAGES, read
from vsearch.serving.settings import ServerSettings

EVIL = '<img src=x onerror="window.stolen=1"><script>window.stolen=1</script>\'"></td>'
NAME = '<b onclick=alert(1)>\'s "note"'

needs_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    rows = 300
    table = pa.table({
        "price": np.arange(rows) % 50,
        "color": [["red", "green", EVIL][row % 3] for row in range(rows)],
        NAME: [f"{EVIL} {row}" for row in range(rows)],
        "body": [f"word{row % 7} and more" for row in range(rows)],
        "tags": [["a", "b'c"] if row % 2 else [EVIL] for row in range(rows)],
        "big": np.full(rows, 2**60 + 1),
        "when": np.datetime64("2026-01-01", "us") + np.arange(rows) * np.timedelta64(1, "D"),
        "sold": np.arange(rows) % 2 == 0,
    })  # fmt: skip
    ids = [f"{EVIL}{row}" if row % 2 else f"row {row}" for row in range(rows)]
    url = tmp_path_factory.mktemp("console") / "i"
    return vsearch.build(clustered(rows, 8), url, table, ids, partitions=6, text="body")


@pytest.fixture(scope="module")
def url(index):
    with serving(ServerSettings({"": index.snapshot.store.url})) as found:
        yield found


def test_unknown_names_are_not_remembered():
    assert read("") is None
    before = sys.getallocatedblocks()
    for number in range(10_000):
        assert read(f"{number}.js") is None
    assert sys.getallocatedblocks() - before < 5000
    assert {name for name in ("../assets.py", "console.html/", "", ".js", "\0") if read(name)} == set()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser")) as found:
        yield found


def opened(page, url, **options):
    page.errors.clear()
    page.look(url, **options)
    page.wait(
        "document.querySelectorAll('#ways input').length > 1 && document.getElementById('status').textContent === ''"
    )
    page.wait("document.querySelectorAll('#values button').length > 0")


def press(page, what):
    page.run(f"document.getElementById({what!r}).click()")


def said(page, text):
    return page.wait(f"document.getElementById('status').textContent.includes({json.dumps(text)})")


def ids_shown(page):
    return page.run("[...document.querySelectorAll('#hits tbody th')].map((cell) => cell.textContent)")


class TestInABrowser:
    pytestmark = needs_browser

    def test_an_example_row_a_filter_and_what_is_shown(self, page, url, index):
        opened(page, url)
        page.run("document.querySelector('input[value=like]').click()")
        press(page, "show-rows")
        page.wait("document.querySelectorAll('#examples button').length === 12")
        page.run("document.querySelectorAll('#examples button')[3].click()")
        chosen = page.run("document.getElementById('like').value")
        page.run(
            "(() => { const a = document.getElementById('attribute'); a.value = 'color'; a.dispatchEvent(new Event('change')) })()"
        )
        page.wait("[...document.querySelectorAll('#values button')].some((each) => each.textContent.includes('<img'))")
        page.run(
            "[...document.querySelectorAll('#values button')].find((each) => each.textContent.includes('<img')).click()"
        )
        where = page.run("document.getElementById('where').value")
        assert index.count(where) == 100
        press(page, "count")
        page.wait("document.getElementById('counted').textContent === '100 rows'")
        for box in ("color", NAME):
            page.run(
                f"[...document.querySelectorAll('input[name=column]')].forEach((each) => {{ if (each.value === {json.dumps(box)}) each.checked = true }})"
            )
        press(page, "go")
        said(page, "10 hits")
        expected = index.search(index.vectors([chosen]).vectors, 10, where, columns=["color", NAME])
        assert ids_shown(page) == expected.ids[0].tolist()
        cells = page.run("document.getElementById('hits').textContent")
        assert all(EVIL in cells and value in cells for value in expected.columns[NAME].to_pylist())
        assert page.run(
            "[typeof window.stolen, document.querySelectorAll('#hits img, #hits script, #hits b').length]"
        ) == ["undefined", 0]
        plan = page.run("document.getElementById('plan').innerText")
        for level in ("pass the filter", "scanned", "reranked", "returned", "partitions", "per million"):
            assert level in plan
        press(page, "measure")
        page.wait("document.querySelectorAll('#curve tbody tr').length >= 5")
        assert page.errors == []

    def test_words_vectors_and_mistakes(self, page, url, index):
        opened(page, url)
        page.run("document.querySelector('input[value=words]').click()")
        page.run("document.getElementById('words').value = 'word3'")
        press(page, "go")
        said(page, "10 hits")
        assert ids_shown(page) == index.search_text("word3", 10).ids[0].tolist()
        page.run("document.querySelector('input[value=vector]').click()")
        page.run(f"document.getElementById('vector').value = {json.dumps(json.dumps([1.0] * 8))}")
        page.run("document.getElementById('exact').checked = true")
        press(page, "go")
        page.wait("document.querySelectorAll('#hits tbody tr').length === 10")
        page.wait(
            f"[...document.querySelectorAll('#hits tbody th')].map((cell) => cell.textContent).join() === {json.dumps(','.join(index.search(np.ones(8), 10, exact=True).ids[0].tolist()))}"
        )
        assert page.errors == []
        page.run("document.getElementById('where').value = 'nothing = 1'")
        press(page, "go")
        said(page, "no attribute column is named 'nothing'")
        page.run("document.getElementById('vector').value = 'no'")
        press(page, "go")
        said(page, "A vector is a list of numbers")

    def test_by_keyboard_alone(self, page, url):
        opened(page, url)
        reached, buttons = [], 0
        for _ in range(60):
            page.press("Tab", 9)
            at = page.run("document.activeElement.id || document.activeElement.name || document.activeElement.tagName")
            outlined = page.run("getComputedStyle(document.activeElement).outlineStyle")
            assert outlined != "none", at
            buttons += page.run("document.activeElement.tagName") == "BUTTON"
            if at == "words":
                page.type("word3")
            if at == "go":
                break
            reached.append(at)
        assert {
            "key",
            "way",
            "words",
            "attribute",
            "operator",
            "operand",
            "add",
            "where",
            "clear",
            "count",
            "k",
            "exact",
            "column",
        } <= set(reached)
        page.press("Enter", 13, "\r")
        said(page, "10 hits")
        page.press("Tab", 9)
        assert page.run("document.getElementById('results').contains(document.activeElement)")

    def test_everything_has_a_name(self, page, url):
        for path in PAGES:
            page.look(f"{url}{path}")
            page.wait("document.querySelector('#status').textContent === ''")
            nameless = page.run("""[...document.querySelectorAll("input, select, textarea, button, svg[role=img]")].filter((each) =>
                !(each.labels?.length && [...each.labels].some((label) => label.textContent.trim()))
                && !each.getAttribute("aria-label") && !each.textContent.trim()).map((each) => each.outerHTML)""")
            assert nameless == []
            assert page.run(
                "[document.documentElement.lang, document.querySelectorAll('h1').length, document.querySelectorAll('main').length]"
            ) == ["en", 1, 1]

    @pytest.mark.parametrize("width", [400, 1280])
    @pytest.mark.parametrize("dark", [False, True])
    def test_it_fits_and_can_be_read(self, page, url, width, dark, tmp_path):
        opened(page, url, width=width, dark=dark)
        page.run(
            "(document.querySelector('input[value=words]').click(), document.getElementById('words').value = 'word3')"
        )
        press(page, "go")
        said(page, "10 hits")
        press(page, "measure")
        page.wait("document.querySelectorAll('#curve tbody tr').length >= 5")
        assert page.run("document.documentElement.scrollWidth") <= width
        faint = page.run("""(() => {
            const light = (color) => { const part = color.match(/[0-9.]+/g).slice(0, 3).map((value) => { value /= 255;
                return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4 }); return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2] };
            const behind = (each) => { for (; each; each = each.parentElement) { const color = getComputedStyle(each).backgroundColor;
                if (!color.endsWith(", 0)")) return color } return "rgb(255, 255, 255)" };
            return [...document.querySelectorAll("p, label, button, th, td, dt, dd, h1, h2, h3, a, legend, summary, .quiet")]
                .filter((each) => each.textContent.trim() && each.offsetParent && !each.disabled && !each.classList.contains("skip"))
                .map((each) => { const [a, b] = [light(getComputedStyle(each).color), light(behind(each))];
                    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), each.textContent.slice(0, 40)] })
                .filter(([ratio]) => ratio < 4.5);
        })()""")
        assert faint == []
        folder = Path(os.environ.get("VSEARCH_PICTURES", tmp_path))  # to look at them
        page.picture(folder / f"console-{width}-{'dark' if dark else 'light'}.png")
        assert page.errors == []

    def test_the_page_of_the_api(self, page, url, tmp_path):
        page.errors.clear()
        page.look(f"{url}/docs")
        page.wait("document.querySelectorAll('#schemas h3').length > 3")
        text = page.run("document.body.innerText")
        for part in ("POST", "/search", "/rows", "SearchBody", "min_score", "x-api-key", "401"):
            assert part in text
        assert page.run("document.documentElement.scrollWidth") <= 1280
        page.picture(Path(os.environ.get("VSEARCH_PICTURES", tmp_path)) / "docs.png")
        assert page.errors == []

    def test_keys_and_several_indexes(self, page, index):
        other = vsearch.build(clustered(40, 4), "memory://console-other/i")
        targets = [f"words={index.snapshot.store.url}", f"photos={other.snapshot.store.url}"]
        with serving(ServerSettings.of(targets, "127.0.0.1", {"VSEARCH_API_KEY": "k"}, writable=False)) as url:
            page.look(url)
            said(page, "needs an API key")
            page.run(
                "(() => { const key = document.getElementById('key'); key.value = 'k'; key.dispatchEvent(new Event('change')) })()"
            )
            page.wait(
                "[...document.querySelectorAll('#index option')].map((each) => each.value).join() === 'photos,words'"
            )
            page.wait("document.getElementById('facts').textContent.includes('4 dimensions')")
            page.run(
                "(() => { const choice = document.getElementById('index'); choice.value = 'words'; choice.dispatchEvent(new Event('change')) })()"
            )
            page.wait("document.getElementById('facts').textContent.includes('8 dimensions')")


def test_pages_load_nothing_from_elsewhere(url):
    import urllib.request

    for path in (*PAGES, "/_console/pages.css", "/_console/console.js"):
        with urllib.request.urlopen(url + path) as reply:
            text = reply.read().decode()
            assert {name: reply.headers[name] for name in HEADERS} == HEADERS
        for scheme in ("http://", "https://", "//cdn"):
            assert scheme not in text.replace("http://www.w3.org/2000/svg", "")
        assert " on" not in {part for part in text.split("<") if part.startswith(("button", "input"))}
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_scripts_parse_no_html():
    names = ["console.js", "docs.js", "dom.js", "filters.js", "pictures.js"]
    for name in names:
        text = read(name)[0].decode()
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
        ):
            assert way not in text, (name, way)


@pytest.mark.parametrize(
    "name", ["../settings.py", "__init__.py", "", ".", "console", "%2e%2e%2fapp.py", "..%2fapp.py"]
)
def test_only_pages_are_sent(url, name):
    from tests.serving.server import call

    assert call(f"{url}/_console/{name}")[0] == 404


def test_questions_of_the_console(url, index):
    found = ask(f"{url}/console/describe", {})[1]
    assert found["ways"] == ["words", "like", "vector"]
    forms = {each["name"]: each["form"] for each in found["attributes"]}
    assert forms == {
        "price": "number", "color": "text", NAME: "text", "body": "text", "tags": "list", "big": "number", "when": "time", "sold": "yes/no",
    }  # fmt: skip
    assert "/" not in found["facts"]["url"]
    values = ask(f"{url}/console/values", {"column": "price", "where": "price < 3"})[1]
    assert (values["least"], values["greatest"], len(values["values"])) == (0, 2, 3)
    assert ask(f"{url}/console/values", {"column": "when"})[1]["least"].startswith("2026-01-01T")
    assert ask(f"{url}/console/values", {"column": "big"})[1]["values"][0]["value"] == str(2**60 + 1)
    assert ask(f"{url}/console/rows", {"columns": ["price"], "limit": 2})[1]["count"] == 300
    answer = ask(f"{url}/console/search", {"like": "row 2", "where": "price < 25", "k": 3, "exact": True})[1]
    expected = index.search(index.vectors(["row 2"]).vectors, 3, "price < 25", exact=True)
    assert [hit["id"] for hit in answer["hits"]] == expected.ids[0].tolist()
    assert answer["stats"]["rows_masked"] == index.count("price < 25")
    assert answer["bill"]["usage"]["invocations"] == 1
    assert answer["bill"]["dollars"] < 1e-3
    curve = ask(f"{url}/console/curve", {"sample": 20})[1]
    assert [point["factor"] for point in curve["points"]].count(1.0) == 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nothing", {}, 404),
        ("search", {}, 400),
        ("search", {"like": "row 2", "words": "a"}, 400),
        ("search", {"like": "nobody"}, 400),
        ("search", {"vector": [1.0]}, 400),
        ("search", {"vectors": [[1.0] * 8]}, 400),
        ("search", {"like": "row 2", "k": 501}, 400),
        ("search", {"like": "row 2", "surprise": 1}, 400),
        ("values", {"column": "nothing"}, 400),
        ("rows", {"where": "nothing = 1"}, 400),
        ("curve", {"sample": 10**9}, 400),
    ],
)
def test_what_the_console_refuses(url, path, body, status):
    assert ask(f"{url}/console/{path}", body)[0] == status


def test_the_console_needs_the_key(index):
    settings = ServerSettings.of([index.snapshot.store.url], "127.0.0.1", {"VSEARCH_API_KEY": "k"}, writable=False)
    with serving(settings) as url:
        for path in ("describe", "rows", "search", "curve", "values"):
            assert ask(f"{url}/console/{path}", {})[0] == 401
        assert ask(f"{url}/console/indexes")[0] == 401
        assert ask(f"{url}/console/indexes", x_api_key="k") == (200, {"indexes": [""]})
        assert ask(f"{url}/console/describe", {}, x_api_key="k")[0] == 200


def test_documents_of_many_vectors(tmp_path):
    rng = np.random.default_rng(0)
    documents = [rng.standard_normal((5, 16)).astype(np.float32) for _ in range(60)]
    index = vsearch.build_documents(np.concatenate(documents), np.arange(0, 301, 5), tmp_path / "d")
    with serving(ServerSettings({"": str(tmp_path / "d")})) as url:
        assert ask(f"{url}/console/describe", {})[1]["ways"] == ["like", "vectors"]
        answer = ask(f"{url}/console/search", {"vectors": documents[7].tolist(), "k": 2})[1]
        hits = index.search_documents(documents[7], 2, matches=True)
        assert [hit["id"] for hit in answer["hits"]] == hits.ids[0].tolist()
        assert [match["position"] for match in answer["hits"][0]["matches"]] == hits.matches[0].positions[0].tolist()
        assert answer["bill"] is None
        assert ask(f"{url}/console/search", {"like": 7, "k": 1})[1]["hits"][0]["id"] == 7
        assert ask(f"{url}/console/search", {"vector": [1.0] * 16})[0] == 400
        assert ask(f"{url}/console/curve", {})[0] == 400
