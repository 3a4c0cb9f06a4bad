"""Built-in rules: keys, tokens and passwords."""

from __future__ import annotations

import re
from typing import Any

from tidegauge.collectors.masking import checks
from tidegauge.collectors.masking.keyed import keyed
from tidegauge.collectors.masking.rules import BEGIN, Rule, Span, checked

_WORD = "[A-Za-z0-9_-]"
_PLACEHOLDER = re.compile(rb"\*+|\[.*|<.*|\$.*|\{.*|%[sr(].*")


def _token(name: str, hint: str, pattern: str) -> Rule:
    """A token that its own first characters tell."""
    return Rule(name, hint.encode(), f"{BEGIN}({pattern})")


def _sk(text: bytes, match: Any) -> Span | None:
    """A key, not words with hyphens such as ``task-oriented-dialogue-2024``."""
    start, end = match.span(1)
    found = text[start:end]
    return (start, end) if sum(48 <= each <= 57 for each in found) >= 2 and checks.entropy(found) else None


def _bearer(text: bytes, match: Any) -> Span | None:
    start, end = match.span(2)
    found = text[start:end]
    fits = checks.basic(found) if match.group(1).lower() == b"basic" else checks.opaque(found)
    return (start, end) if fits else None


def _userinfo(text: bytes, match: Any) -> Span | None:
    """The password of ``user:password@``; all of it where there is one part only that looks like a token."""
    start, end = match.span(1)
    user, colon, password = text[start:end].partition(b":")
    if colon:
        start += len(user) + 1
        return (start, end) if password and not _PLACEHOLDER.fullmatch(password) else None
    return (start, end) if checks.opaque(user) and len(user) >= 20 else None


SECRETS = (
    Rule(
        "private_key",
        rb"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[A-Za-z0-9+/=\s\\:,.()@<>-]*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"|(?:\s|\\+[nr])*[A-Za-z0-9+/]{20}(?:[A-Za-z0-9+/=]|\s|\\+[nr])*)",
    ),
    Rule(
        "url_password",
        rb"(?::\\?/\\?/|%3[Aa]%2[Ff]%2[Ff])[^\s/\"'@\\?#]{1,256}(?:@|%40)",
        r"(?:://|:\\+/\\+/|%3[Aa]%2[Ff]%2[Ff])([^\s/\"'@\\?#<>]{1,256})(?:@|%40)",
        _userinfo,
    ),
    _token("aws_key", "(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    _token(
        "github_token",
        "(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22})",
        "gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}",
    ),
    _token(
        "gitlab_token",
        f"gl(?:pat|rt|dt|cbt|ptt|ft|soat|agent|oas|ffct)-{_WORD}{{20}}",
        "gl(?:pat|rt|dt|cbt|ptt|ft|soat|agent|oas|ffct)-[A-Za-z0-9_.-]{20,300}",
    ),
    _token(
        "slack_token",
        r"(?:xox[abeoprs]-|xapp-|hooks\.slack\.com(?:\\?/)services)[A-Za-z0-9\-/\\]{10}",
        r"(?:xox[abeoprs]-|xapp-)[A-Za-z0-9-]{10,300}|hooks\.slack\.com\\*/services\\*/[A-Za-z0-9/\\]{10,100}",
    ),
    _token(
        "stripe_key",
        "(?:[rs]k_(?:live|test)_|whsec_)[A-Za-z0-9]{10}",
        "(?:[rs]k_(?:live|test)_|whsec_)[A-Za-z0-9+/=]{10,300}",
    ),
    Rule("llm_key", f"sk-{_WORD}{{20}}".encode(), rf"{BEGIN}(sk-{_WORD}{{20,400}})", _sk),
    _token(
        "google_key",
        f"(?:AIza{_WORD}{{35}}|ya29\\.{_WORD}{{20}}|GOCSPX-{_WORD}{{20}})",
        rf"AIza{_WORD}{{35}}|ya29\.[A-Za-z0-9_.-]{{20,800}}|GOCSPX-{_WORD}{{20,60}}",
    ),
    _token("npm_token", "npm_[A-Za-z0-9]{36}", "npm_[A-Za-z0-9]{36}"),
    _token("pypi_token", f"pypi-AgE{_WORD}{{20}}", f"pypi-AgE{_WORD}{{20,800}}"),
    _token("huggingface_token", "hf_[A-Za-z0-9]{34}", "hf_[A-Za-z0-9]{34,60}"),
    _token(
        "vendor_token",  # SendGrid, Databricks, DigitalOcean, Groq, xAI, Perplexity, Replicate, Vault, Shopify, age, us
        rf"(?:SG\.{_WORD}{{22}}\.|dapi[a-f0-9]{{32}}|do[oprt]_v1_[a-f0-9]{{64}}|gsk_[A-Za-z0-9]{{40}}|xai-[A-Za-z0-9]{{40}}"
        rf"|pplx-[A-Za-z0-9]{{40}}|r8_[A-Za-z0-9]{{37}}|hv[sb]\.{_WORD}{{24}}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{{32}}"
        rf"|AGE-SECRET-KEY-1[A-Z0-9]{{20}}|tg_{_WORD}{{43}})",
        rf"SG\.{_WORD}{{22}}\.{_WORD}{{20,60}}|dapi[a-f0-9]{{32}}(?:-\d)?|do[oprt]_v1_[a-f0-9]{{64}}|gsk_[A-Za-z0-9]{{40,80}}"
        rf"|xai-[A-Za-z0-9]{{40,120}}|pplx-[A-Za-z0-9]{{40,80}}|r8_[A-Za-z0-9]{{37}}|hv[sb]\.{_WORD}{{24,300}}"
        rf"|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{{32}}|AGE-SECRET-KEY-1[A-Z0-9]{{20,100}}|tg_{_WORD}{{43}}",
    ),
    Rule(
        "jwt",
        rb"eyJ[A-Za-z0-9_\-]{12}",
        rf"{BEGIN}(eyJ{_WORD}{{8,}}\.{_WORD}{{4,}}(?:\.{_WORD}*){{1,3}})",
        checked(checks.jwt),
    ),
    Rule(
        "bearer",
        rb"(?i)(?:bearer|basic)(?:[ \t+]|%20|\\u0020){1,3}[A-Za-z._~+/\-]{0,128}[0-9=]",
        rf"(?i){BEGIN}(bearer|basic)(?:[ \t+]|%20|\\+u0020){{1,3}}([A-Za-z0-9._~+/=\-]{{8,}})",
        _bearer,
    ),
    keyed(),
)
