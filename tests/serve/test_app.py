"""The HTTP interface around a fake predictor: answers, refusals, limits, headers."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fake_service import answer
from starlette.testclient import TestClient

from polymodal.serve.settings import Settings

pytestmark = pytest.mark.usefixtures("no_leftovers")


def send(client: TestClient, name: str, content: bytes, **options: Any) -> Any:
    return client.post("/predict", files={"clip": (name, content, "video/mp4")}, **options)


def sentence(response: Any, status: int) -> str:
    """Check that ``response`` is an error of one sentence as JSON, and return the sentence."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) <= {"error", "remedy"}
    for text in body.values():
        assert text
        assert "\n" not in text
        assert "Traceback" not in text
        assert "/tmp" not in text
    return body["error"]


# ---- answers


def test_a_clip_is_answered_with_its_timeline_whatever_its_mime_type_says(client: TestClient, wav: bytes) -> None:
    response = send(client, "talk.mp4", wav)  # sound, declared as video
    assert response.status_code == 200
    expected = answer("talk.mp4", wav, "so good, I said; <b>really</b>", 3).to_dict()
    found = response.json()
    assert found.pop("run") == "fake"  # not the path that the run has on the server
    assert {**found, "seconds": 0} == {**{n: v for n, v in expected.items() if n != "run"}, "seconds": 0}
    assert response.headers["cache-control"] == "no-store"


def test_a_transcript_and_utterances_reach_the_predictor(client: TestClient, wav: bytes) -> None:
    files = {"clip": ("a.wav", wav), "transcript": ("words.SRT", b"what was said")}
    assert client.post("/predict", files=files).json()["utterances"][0]["text"] == "what was said"
    told = send(client, "a.wav", wav, data={"utterances": "clip"}).json()
    assert len(told["utterances"]) == 1


def test_features_are_answered_from_json(client: TestClient) -> None:
    rows = [{"text": "fine", "audio": [[0.5, 1.0]], "vision": None}, {"text": "bad"}]
    response = client.post("/predict", json={"rows": rows})
    assert response.status_code == 200
    assert len(response.json()["utterances"]) == 2


def test_progress_is_streamed_as_lines_that_end_with_the_result(client: TestClient, wav: bytes) -> None:
    response = send(client, "slow-0.5.wav", wav, headers={"accept": "application/x-ndjson"})
    assert response.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in response.text.splitlines()]
    told = [line["progress"] for line in lines[:-1]]
    assert told[0] == 0.0
    assert told == sorted(told)
    assert {line["duration"] for line in lines[:-1]} == {0.5}
    plain = send(client, "slow-0.5.wav", wav).json()
    assert {**lines[-1]["result"], "seconds": 0} == {**plain, "seconds": 0}


def test_an_error_within_a_stream_is_its_last_line(client: TestClient) -> None:
    response = send(client, "text.mp4", b"not a clip" * 100, headers={"accept": "application/x-ndjson"})
    assert response.status_code == 200
    last = json.loads(response.text.splitlines()[-1])
    assert last["status"] == 422
    assert "text.mp4" in last["error"]


# ---- what cannot be answered


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.mp4", b"", "empty.mp4 is empty (0 bytes)"),
        ("notes.mp4", b"this is a text " * 300, "notes.mp4 cannot be read as audio or video"),
        ("zeros.mp4", bytes(5000), "zeros.mp4"),
        ("cut.wav", b"RIFF\x00", "cut.wav"),
    ],
)
def test_what_is_no_clip_is_refused_in_one_sentence(client: TestClient, name: str, content: bytes, words: str) -> None:
    assert words in sentence(send(client, name, content), 422)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"clips": ("a.mp4", b"x")}, "a field 'clips'; did you mean 'clip'?"),
        ({"transcript": ("a.srt", b"x")}, "no file called clip"),
        ([("clip", ("a.mp4", b"x")), ("clip", ("b.mp4", b"x"))], "clip twice"),
    ],
)
def test_a_form_with_other_fields_is_refused(client: TestClient, files: Any, words: str) -> None:
    assert words in sentence(client.post("/predict", files=files), 422)


def test_a_clip_that_needs_too_much_memory_costs_one_answer(client: TestClient, wav: bytes) -> None:
    response = client.post("/predict", files={"clip": ("hungry.wav", wav)})
    assert "hungry.wav needs more memory than one request may take" in sentence(response, 413)
    assert client.post("/predict", files={"clip": ("a.wav", wav)}).status_code == 200


def test_a_bad_transcript_is_named_without_the_folder_it_was_stored_in(client: TestClient, wav: bytes) -> None:
    files = {"clip": ("a.wav", wav), "transcript": ("w.srt", b"broken")}
    assert sentence(client.post("/predict", files=files), 422) == "transcript.srt: line 1 is no time"


def test_a_wrong_way_to_cut_is_refused_by_the_predictor(client: TestClient, wav: bytes) -> None:
    response = send(client, "a.wav", wav, data={"utterances": "words"})
    assert "utterances must be speech, windows or clip" in sentence(response, 422)


def test_rows_beyond_the_most_are_refused_before_all_are_read(make_client: Any) -> None:
    client = make_client(max_rows=1000)
    assert client.post("/predict", json={"rows": [{"text": "fine"}] * 1000}).status_code == 200
    rows = b'{"rows":[' + b"{}," * 1002 + b" this is no JSON any more"
    response = client.post("/predict", content=rows, headers={"content-type": "application/json"})
    assert "more than the 1,000 rows that are taken" in sentence(response, 413)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "no JSON that can be read"),
        (b"[" * 100_000, "no JSON that can be read"),
        (b"[1, 2]", "the body must be"),
        (b'{"rows": [3]}', "the body must be"),
        (b'{"rows": [{"smell": [1]}]}', "no modality 'smell'"),
    ],
)
def test_json_that_is_no_rows_is_refused(client: TestClient, body: bytes, words: str) -> None:
    response = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert words in sentence(response, 422)


@pytest.mark.parametrize("kind", ["text/plain", "", "multipart/mixed; boundary=x"])
def test_other_bodies_are_refused(client: TestClient, kind: str) -> None:
    response = client.post("/predict", content=b"hello", headers={"content-type": kind} if kind else {})
    assert "form with a file called clip" in sentence(response, 415)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"hello"),
        ("multipart/form-data; boundary=x", b""),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="clip"; filename="a"\r\n\r\nab',
        ),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nab\r\n--x--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 500, b"hello"),
    ],
)
def test_a_damaged_form_is_refused(client: TestClient, kind: str, body: bytes) -> None:
    sentence(client.post("/predict", content=body, headers={"content-type": kind}), 422)


def test_wrong_routes_and_methods_are_answered_in_json(client: TestClient) -> None:
    sentence(client.get("/nothing"), 404)
    sentence(client.get("/static/../app.py"), 404)
    sentence(client.get("/static/%2e%2e/app.py"), 404)
    response = client.get("/predict")
    sentence(response, 405)
    assert response.headers["allow"] == "POST"


def test_a_defect_is_answered_with_a_number_that_the_log_explains(
    client: TestClient, wav: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    told = sentence(send(client, "defect.wav", wav), 500)
    number = told.partition("(error ")[2][:8]
    assert f"error {number}: Traceback" in caplog.text
    assert "/secret/path" in caplog.text
    assert "secret" not in told


def test_a_worker_that_dies_is_replaced(make_client: Any, wav: bytes, caplog: pytest.LogCaptureFixture) -> None:
    client = make_client(time_limit=20)
    sentence(send(client, "dies.wav", wav), 500)
    assert "ended with code 11" in caplog.text
    assert send(client, "fine.wav", wav).status_code == 200


# ---- names


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../../etc/passwd", "passwd"),
        ("..\\..\\boot.wav", "boot.wav"),
        ("/etc/cron.d/x.wav", "x.wav"),
        ("a\x00b\x1b[31m.wav", "ab[31m.wav"),
        ("\u202egnp.wav", "gnp.wav"),
        ("..", "clip"),
        ("x" * 3000, "x" * 100),
        ("Größe 😀.wav", "Größe 😀.wav"),
        ('<img src=x onerror="1">.wav', '<img src=x onerror="1">.wav'),
    ],
)
def test_a_file_name_is_only_shown_and_only_its_last_part(
    client: TestClient, wav: bytes, name: str, shown: str, scratch_root: Path
) -> None:
    quoted = name.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    body = b'--x\r\nContent-Disposition: form-data; name="clip"; filename="%b"\r\n\r\n%b\r\n--x--\r\n' % (quoted, wav)
    response = client.post("/predict", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    assert response.json()["clip"] == shown
    assert [p.name for p in scratch_root.rglob("*") if p.is_file() and p.name != "lock"] == []


# ---- limits


def test_ten_gigabytes_declared_are_refused_before_any_is_read(client: TestClient) -> None:
    headers = {"content-length": str(10 * 2**30), "content-type": "multipart/form-data; boundary=x"}
    began = time.monotonic()
    told = sentence(client.post("/predict", content=b"x", headers=headers), 413)
    assert "larger than the 200 MiB" in told
    assert time.monotonic() - began < 1


def test_a_body_that_does_not_say_its_size_is_cut_off(make_client: Any) -> None:
    client = make_client(max_upload=1)

    def body() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="clip"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield bytes(100_000)

    response = client.post("/predict", content=body(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert "larger than the 1 MiB" in sentence(response, 413)


def test_a_text_field_may_not_be_large(client: TestClient, wav: bytes) -> None:
    response = client.post("/predict", files={"clip": ("a.wav", wav), "transcript": ("a.srt", bytes(2**20 + 1))})
    assert "transcript or text field" in sentence(response, 413)


def test_a_clip_may_not_last_longer_than_allowed_whatever_it_says(make_client: Any, make_wav: Any) -> None:
    client = make_client(max_seconds=1)
    assert "longer than 1 s, the most" in sentence(send(client, "talk.wav", make_wav(1.5)), 413)
    assert "longer than 1 s, the most" in sentence(send(client, "long.wav", make_wav(0.5)), 413)


def test_beyond_the_queue_clients_are_asked_to_come_back(make_client: Any, wav: bytes) -> None:
    client = make_client(queue=1)
    with ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(send, client, f"slow-0.6-{i}.wav", wav) for i in range(6)]
        responses = [a.result() for a in asked]
    statuses = sorted(r.status_code for r in responses)
    assert statuses.count(200) == 2  # one that runs and one that waits
    assert statuses.count(429) == 4
    for response in responses:
        if response.status_code == 429:
            assert sentence(response, 429) == "the service is busy"
            assert int(response.headers["retry-after"]) >= 1
    assert send(client, "fine.wav", wav).status_code == 200


def test_an_answer_that_takes_too_long_is_given_up(make_client: Any, wav: bytes) -> None:
    client = make_client(time_limit=2.5)
    response = send(client, "slow-20.wav", wav)
    assert "not done within the time limit of 2.5 s" in sentence(response, 503)
    assert int(response.headers["retry-after"]) >= 1
    assert send(client, "fine.wav", wav).status_code == 200


def test_a_predictor_that_hangs_is_killed(
    make_client: Any, wav: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("polymodal.serve.pool.GRACE", 0.2)
    client = make_client(time_limit=5)  # in which another process starts, however busy the machine
    sentence(send(client, "slow-60-stubborn.wav", wav), 503)
    assert send(client, "fine.wav", wav).status_code == 200
    assert "is replaced" in caplog.text


# ---- health and counters


def test_health_tells_the_run_and_the_limits(client: TestClient) -> None:
    body = client.get("/healthz").json()
    assert body["status"] == "ready"
    assert body["run"] == "fake"
    assert body["workers"] == 1
    assert body["limits"] == Settings("fake").stated
    assert body["limits"]["upload_bytes"] == 200 * 2**20


def counted(client: TestClient) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines if not x.startswith("#"))}


def test_counters_count_requests_stages_and_media(make_client: Any, make_wav: Any) -> None:
    client = make_client(max_upload=0.5)
    send(client, "a.wav", make_wav(1.0))
    send(client, "b.wav", make_wav(2.0), headers={"accept": "application/x-ndjson"})
    send(client, "c.mp4", b"none")
    send(client, "d.mp4", b"none", headers={"accept": "application/x-ndjson"})
    send(client, "e.mp4", bytes(600_000))
    found = counted(client)
    assert found['polymodal_requests_total{status="200"}'] == 2
    assert found['polymodal_requests_total{status="422"}'] == 2
    assert found['polymodal_requests_total{status="413"}'] == 1
    assert found["polymodal_media_seconds_total"] == pytest.approx(3.0)
    assert found['polymodal_stage_seconds_total{stage="decode"}'] == pytest.approx(0.02)
    assert found["polymodal_request_seconds_count"] == 2
    assert found["polymodal_requests_in_flight"] == found["polymodal_queue_length"] == 0


def test_the_counters_show_who_waits(make_client: Any, wav: bytes) -> None:
    client = make_client(queue=5)
    with ThreadPoolExecutor(3) as clients:
        asked = [clients.submit(send, client, f"slow-0.6-{i}.wav", wav) for i in range(3)]
        time.sleep(0.4)
        found = counted(client)
        assert [a.result().status_code for a in asked] == [200] * 3
    assert found["polymodal_requests_in_flight"] == 3
    assert found["polymodal_queue_length"] == 2


def test_openapi_describes_both_bodies_with_examples_and_every_error(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    post = document["paths"]["/predict"]["post"]
    bodies = post["requestBody"]["content"]
    assert set(bodies) == {"multipart/form-data", "application/json"}
    example = bodies["application/json"]["example"]
    assert client.post("/predict", json=example).status_code == 200
    shown = post["responses"]["200"]["content"]["application/json"]["example"]
    assert set(shown) == set(client.post("/predict", json=example).json())
    assert {"401", "413", "422", "429", "503"} <= set(post["responses"])


# ---- who may


def test_a_token_is_needed_where_there_is_one(make_client: Any, wav: bytes) -> None:
    client = make_client(token="right-one")
    response = send(client, "a.wav", wav)
    assert sentence(response, 401) == "this service needs a token"
    assert response.headers["www-authenticate"] == "Bearer"
    for wrong in ("Bearer wrong", "Bearer", "Bearer right-one-and-more", "Basic right-one", "right-one"):
        assert sentence(send(client, "a.wav", wav, headers={"authorization": wrong}), 401) == "the token is wrong"
    assert send(client, "a.wav", wav, headers={"authorization": "Bearer right-one"}).status_code == 200
    sentence(client.get("/metrics"), 401)
    counts = client.get("/metrics", headers={"authorization": "bearer right-one"}).text
    assert 'polymodal_requests_total{status="401"} 6.0' in counts
    for public in ("/", "/healthz", "/static/app.js", "/openapi.json"):
        assert client.get(public).status_code == 200
    assert client.get("/healthz").json()["token"] is True


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_a_foreign_host_name_is_refused_on_loopback(client: TestClient, host: str) -> None:
    assert "for its own machine" in sentence(client.get("/healthz", headers={"host": host}), 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "127.8.0.1", "[::1]:8000", "[::1]"])
def test_names_of_this_machine_are_accepted(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


def test_elsewhere_any_host_name_goes_with_a_token(make_client: Any) -> None:
    client = make_client(host="0.0.0.0", token="t")
    assert client.get("/healthz", headers={"host": "lab.example"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_cannot_ask(client: TestClient, wav: bytes, site: str) -> None:
    assert "other sites" in sentence(send(client, "a.wav", wav, headers={"sec-fetch-site": site}), 403)
    assert send(client, "a.wav", wav, headers={"sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/healthz", "/nothing", "/predict"])
def test_every_answer_has_security_headers_and_none_allows_other_origins(client: TestClient, path: str) -> None:
    headers = client.get(path, headers={"origin": "https://evil.example"}).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers


def test_the_page_asks_no_other_host_for_anything(client: TestClient) -> None:
    for path in ("/", "/static/app.js", "/static/app.css", "/static/timeline.js", "/static/timeline.css"):
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text
        assert "@import" not in text
