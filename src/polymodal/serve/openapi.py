"""Examples for /openapi.json."""

from __future__ import annotations

from typing import Any

TIMELINE: dict[str, Any] = {
    "clip": "clip.mp4",
    "duration": 3.0,
    "run": "mosi",
    "method": "mmcl",
    "modalities": ["text", "audio", "vision"],
    "targets": [{"name": "sentiment", "task": "regression", "answer": "number", "range": [-3, 3], "classes": []}],
    "level": 0.9,
    "calibrated": True,
    "notes": ["clip.mp4: the picture shows no face, vision is absent"],
    "seconds": {"decode": 0.1, "audio": 0.2, "text": 0.4, "model": 0.02, "total": 0.7},
    "utterances": [
        {
            "start": 0.4,
            "end": 2.1,
            "speaker": "",
            "text": "i loved it",
            "words": [{"text": "i", "start": 0.4, "end": 0.5}],
            "present": ["text", "audio"],
            "absent": {"vision": "the picture shows no face"},
            "unlike": {"p": 0.01, "modality": "audio", "alarm": True},
            "estimates": {
                "sentiment": {
                    "value": 1.2,
                    "low": 0.1,
                    "high": 2.2,
                    "baseline": 0.3,
                    "contributions": {"text": 0.5, "audio": 0.4},
                    "together": {
                        "alone": {"text": 0.6, "audio": 0.5},
                        "joint": -0.2,
                        "cancelled": 0.0,
                        "word": "",
                    },
                }
            },
        }
    ],
}

LINES = '{"progress": 1.5, "duration": 3.0}\n{"result": {"clip": "..."}}\n'

REFUSALS = {
    "400": ("the request is malformed", "the form cannot be read"),
    "401": ("no token, or a wrong one", "this service needs a token"),
    "408": ("the upload stalled", "no byte of the upload came for 30 seconds"),
    "413": ("too many bytes or seconds", "the upload is larger than the 200 MiB that are taken"),
    "415": ("neither a form nor JSON", "the body must be a form with a file called clip, or JSON"),
    "422": ("the clip or the rows cannot be used", "clip.mp4 is empty (0 bytes); record or download it again"),
    "429": ("busy; see Retry-After", "the service is busy"),
    "503": ("time limit, or shutting down; see Retry-After", "the service is shutting down"),
}


def _error(about: str, sentence: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string"}, "remedy": {"type": "string"}},
    }
    return {"description": about, "content": {"application/json": {"schema": schema, "example": {"error": sentence}}}}


PREDICT: dict[str, Any] = {
    "description": (
        "With the header Accept: application/x-ndjson the answer is a stream of lines: waiting (in the queue), "
        "progress and duration (seconds), then result, or error and status."
    ),
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["clip"],
                    "properties": {
                        "clip": {"type": "string", "format": "binary", "description": "anything that FFmpeg decodes"},
                        "transcript": {
                            "type": "string",
                            "format": "binary",
                            "description": "srt, vtt, TextGrid, json, align or txt: its segments are the utterances",
                        },
                        "utterances": {"type": "string", "enum": ["speech", "windows", "clip"]},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["rows"],
                    "properties": {
                        "rows": {
                            "type": "array",
                            "description": "samples: modality -> text, numbers of the run's shape, or null if absent",
                            "items": {"type": "object"},
                        }
                    },
                },
                "example": {"rows": [{"text": "i loved it", "audio": [[0.1, 0.2], [0.3, 0.1]], "vision": None}]},
            },
        },
    },
    "responses": {
        "200": {
            "description": "the timeline of the clip, or of the rows",
            "content": {
                "application/json": {"example": TIMELINE},
                "application/x-ndjson": {
                    "example": '{"progress": 1.5, "duration": 3.0}\n{"result": {"clip": "..."}}\n'
                },
            },
        },
        **{status: _error(*texts) for status, texts in REFUSALS.items()},
    },
}

HEALTH: dict[str, Any] = {
    "responses": {
        "200": {
            "description": "ready",
            "content": {
                "application/json": {
                    "example": {"status": "ready", "run": "mosi", "version": "1.0", "limits": {"clip_seconds": 600.0}}
                }
            },
        },
        "503": {"description": "draining, or no worker is alive"},
    }
}

METRICS: dict[str, Any] = {
    "responses": {
        "200": {
            "description": "text format of Prometheus",
            "content": {"text/plain": {"example": 'polymodal_requests_total{status="200"} 12.0\n'}},
        }
    }
}
