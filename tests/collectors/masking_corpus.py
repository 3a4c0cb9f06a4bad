"""What masking must find, and what looks like it and must stay.

The tokens are made up here, of random characters in their makers' shapes, so that no scanner of repositories takes this
file for a leak.
"""

from __future__ import annotations

import base64
import json
import random
import string
from dataclasses import dataclass

UPPER, LOWER, DIGITS = string.ascii_uppercase, string.ascii_lowercase, string.digits
ALNUM = UPPER + LOWER + DIGITS


@dataclass(frozen=True)
class Secret:
    """A text, the part of it that must be gone, and the rule that finds it."""

    rule: str
    text: str
    secret: str


def secrets() -> list[Secret]:
    """Every built-in rule that is on, at least once."""
    rng = random.Random(20_260_101)

    def some(length: int, letters: str = ALNUM) -> str:
        return "".join(rng.choices(letters, k=length))

    def segment(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    def alone(rule: str, secret: str) -> list[Secret]:
        """By itself, in prose, in JSON after an escape, and in a URL."""
        shapes = ("{}", "it is {}, I think", '{{"content":"first\\n{}\\nlast"}}', "https://example.org/x?q={}&page=2")
        return [Secret(rule, shape.format(secret), secret) for shape in shapes]

    jwt = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment({'sub': '1', 'name': 'Jane'})}.{some(43)}"
    body = "\n".join(some(64, ALNUM + "+/") for _ in range(5))
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
    pgp = "\n".join(("-----BEGIN PGP PRIVATE KEY BLOCK-----", "", body, "-----END PGP PRIVATE KEY BLOCK-----"))
    tokens = {
        "aws_key": ["AK" + "IA" + some(16, UPPER + "234567"), "AS" + "IA" + some(16, UPPER + "234567")],
        "github_token": [f"gh{kind}_" + some(36) for kind in "pousr"]
        + ["github_" + "pat_" + some(22) + "_" + some(59)],
        "gitlab_token": ["gl" + "pat-" + some(20), "gl" + "rt-" + some(20)],
        "slack_token": ["xo" + f"x{kind}-{some(12, DIGITS)}-{some(12, DIGITS)}-{some(24)}" for kind in "bpa"],
        "stripe_key": ["sk_" + "live_" + some(24), "rk_" + "test_" + some(24), "wh" + "sec_" + some(32)],
        "llm_key": [
            "sk" + "-" + some(48),
            "sk" + "-proj-" + some(64),
            "sk" + "-ant-api03-" + some(80) + "-AA",
            "sk" + "-lf-1f6a2c8e-9b1d-4a3c-8f3e-2a7d5b9c0e11",
        ],
        "google_key": ["AI" + "za" + some(35), "ya" + "29." + some(60), "GOC" + "SPX-" + some(28)],
        "npm_token": ["np" + "m_" + some(36)],
        "pypi_token": ["py" + "pi-AgEIcHlwaS5vcmc" + some(80)],
        "huggingface_token": ["h" + "f_" + some(34, UPPER + LOWER)],
        "vendor_token": [
            "S" + "G." + some(22) + "." + some(43),
            "da" + "pi" + some(32, "abcdef" + DIGITS),
            "dop" + "_v1_" + some(64, "abcdef" + DIGITS),
            "gs" + "k_" + some(52),
            "pp" + "lx-" + some(48),
            "hv" + "s." + some(24),
            "shp" + "at_" + some(32, "abcdef" + DIGITS),
            "t" + "g_" + some(43),
        ],
        "jwt": [jwt],
        "card": [
            "4111111111111111",
            "5555555555554444",
            "378282246310005",
            "6011111111111117",
            "3530111333300000",
            "2223003122003222",
            "6200000000000005",
            "30569309025904",
            "4111-1111-1111-1111",
            "3782-822463-10005",
        ],
        "iban": [
            "GB82WEST12345698765432",
            "DE89370400440532013000",
            "FR1420041010050500013M02606",
            "NO9386011117947",
            "MT84MALT011000012345MTLCAST001S",
        ],
        "ssn": ["123-45-6789", "078-05-1120"],
        "email": [
            "jane.doe@example.com",
            "j_d+tag@mail.example.co.uk",
            "o%40example.com",
            "x\\u0040example.org",
            "jörg@müller.example",
            "иван@почта.рф",
            "info@example.museum",
        ],
    }
    spaced = [
        ("card", "pay with 4111 1111 1111 1111 12/27", "1111 1111 1111"),
        ("card", "in 2024 4111 1111 1111 1111 was charged", "4111 1111"),
        ("card", '{"number": 4111111111111111}', "4111111111111111"),
        ("iban", "IBAN GB82 WEST 1234 5698 7654 32 BIC WESTGB22", "1234 5698"),
        ("email", "https://example.org?user=jane.doe@example.com", "jane.doe@"),
        ("email", "x = 1 //jane.doe@example.com", "jane.doe@"),
        ("email", "https://example.org/users/jane.doe@example.com", "jane.doe@"),
        ("email", "CORP\\njane.doe@example.com", "ane.doe@"),
        ("phone", "call +1 (202) 555-0123 today", "555-0123"),
        ("phone", '{"phone":"+4915112345678"}', "15112345678"),
        ("phone", "tel:+33 1 23 45 67 89", "23 45 67"),
        ("phone", "?phone=%2B442071838750", "2071838750"),
        ("private_key", pem, body[:40]),
        ("private_key", json.dumps({"key": pem}), body[:40]),
        ("private_key", json.dumps(json.dumps({"key": pem})), body[70:100]),
        ("private_key", pem[:300], body[70:100]),
        ("bearer", "curl -H 'x: Bearer abcdef0123456789xyz'", "abcdef0123456789xyz"),
        ("bearer", "sent Basic dXNlcjpzd29yZGZpc2g= to it", "dXNlcjpzd29yZGZpc2g"),
        ("url_password", "could not connect to postgres://app:sw0rdf1sh@db.internal:5432/x", "sw0rdf1sh"),
        ("url_password", '{"dsn":"redis:\\/\\/:sw0rdf1sh@cache:6379\\/0"}', "sw0rdf1sh"),
        ("url_password", "amqp%3A%2F%2Fapp:sw0rdf1sh%40mq", "sw0rdf1sh"),
        ("url_password", "https://jane:swordfish@example.com/private", "swordfish"),
        ("url_password", "git clone https://a1b2c3d4e5f6a7b8c9d0@git.example.org/x", "a1b2c3d4e5f6a7b8c9d0"),
        ("secret", "https://example.org/?api_key=zq81x&lang=en", "zq81x"),
        ("secret", "https://example.org/?lang=en&access_token=zq81x-7", "zq81x-7"),
        ("secret", "https://example.org/?token=a1b2c3d4e5f6a7", "a1b2c3d4e5f6a7"),
        ("secret", "https://x.blob.example.net/c?sv=2024&sig=a1B2c3D4e5F6g7H8%3D", "a1B2c3D4e5F6g7H8"),
        ("private_key", pgp, body[:40]),
        ("secret", "password=swordfish; host=db", "swordfish"),
        ("secret", "Server=db;User Id=app;Password=sword$fish9;", "sword$fish9"),
        ("secret", "AccountKey=abcdefgh1234567890==;EndpointSuffix=x", "abcdefgh1234567890"),
        ("secret", '{"password": "sword \\"fish\\"", "user": "jane"}', "fish"),
        ("secret", '{"args": "{\\"password\\": \\"swordfish\\", \\"user\\": \\"jane\\"}"}', "swordfish"),
        ("secret", '{"client_secret":"swordfish"}', "swordfish"),
        ("secret", "{'apiKey': 'swordfish'}", "swordfish"),
        ("secret", '{"pin_password": 84213377}', "84213377"),
        ("secret", "password\\u003dswordfish\\u0026x\\u003d1", "swordfish"),
        ("secret", "Authorization: Token swordfish", "swordfish"),
        ("secret", "Cookie: sid=swordfish; theme=dark", "swordfish"),
        ("secret", "set-cookie: session=swordfish; HttpOnly", "swordfish"),
        ("secret", "[('authorization', 'Token swordfish'), ('accept', '*/*')]", "swordfish"),
        ("secret", "headers: {'X-Api-Key': b'swordfish'}", "swordfish"),
        ("secret", '{"Authorization": ["Token swordfish", "Token sw0rdfish"]}', "sw0rdfish"),
        ("secret", "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYzEXAMPLEKEY", "wJalrXUtnFEMI"),
        ("secret", "Password: sw0rdfish", "sw0rdfish"),
        ("secret", "DB_PASSWORD=swordfish", "swordfish"),
    ]
    made = [each for rule, texts in tokens.items() for text in texts for each in alone(rule, text)]
    return made + [Secret(*each) for each in spaced]


def _image() -> str:
    return "data:image/png;base64," + base64.b64encode(random.Random(3).randbytes(30_000)).decode()


def _embedding() -> str:
    rng = random.Random(4)
    return json.dumps([rng.gauss(0, 0.05) for _ in range(500)])


def _identifiers() -> str:
    rng = random.Random(5)
    return "\n".join(rng.randbytes(16).hex() for _ in range(300))


LOOK_ALIKES = [
    "3f2a9c41-7be0-4d6e-9a51-0c8f5e2b7d13",
    "11111111-1111-4111-8111-111111111111",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "2026-01-01T12:00:00.123456789Z",
    "1780000000000000000",
    "1767268800123",
    "2026-01-01 12:00:00,123 +00:00",
    "20260101120000123456",
    "gpt-4o-2024-11-20",
    "claude-sonnet-4-5-20250929",
    "v1.2.3-rc.4+build.20260101",
    "192.168.10.14:8080",
    "0.4111111111111111",
    "-0.0411111111111111 1.4111111111111111e-05",
    "4111111111111112",
    "4111111111111111.5",
    "order 5105-1051-0510-5107",
    "GB82WEST12345698765433",
    "XX82WEST12345698765432",
    "000-12-3456",
    "666-12-3456",
    "2024-01-15",
    "+12",
    "1e+10",
    "a +1234567 b",
    "+99912345678901",
    "logo@2x.png",
    "@app.route('/x')",
    "git clone git@github.com:owner/repository.git",
    "lodash@4.17.21",
    "user@host",
    "a @ b.co",
    "https://example.org:8080/path@v2/x",
    "http://localhost:4318/v1/traces",
    "postgres://localhost:5432/db",
    "postgres://app:${PASSWORD}@db/x",
    '{"input_tokens": 128, "output_tokens": 4096, "max_tokens": 4111111111111}',
    '{"token": " hello", "logprob": -0.1}',
    '{"token": "internationalization"}',
    "the next token: the",
    "tokens: 1024",
    "Invalid token: unexpected end of input",
    "Cookie: a small biscuit",
    "Authorization: only staff may enter",
    "Enter your password: it must have eight characters",
    '{"required": ["password", "email"]}',
    '{"password": {"type": "string", "description": "at least eight characters"}}',
    '{"password": null, "api_key": "***", "secret": "[REDACTED]", "cookie": "<redacted>"}',
    "password=${DB_PASSWORD}",
    "api_key=os.environ['OPENAI_API_KEY']",
    "def connect(password: str, token: str) -> None:",
    "token_type=bearer",
    "basic understanding of the subject",
    "the bearer responsibilities of a messenger",
    "task-oriented-dialogue-systems-in-2024",
    "risk-adjusted-return-on-capital",
    "disk-space-is-running-low-on-node-17",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----",
    "a file begins with -----BEGIN PRIVATE KEY----- and a line feed",
    "eyJ0ZXh0IjoiaGVsbG8ifQ==",
    "eyJ0ZXh0IjoiaGVsbG8ifQ.plain.words",
    "npm_config_registry=https://registry.example.org",
    "hf_transfer enabled",
    "AKIA",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "chatcmpl-9f86d081884c7d659a2feaa0",
    "session 5f3a-4411-2233-4455",
    "1234567 8901234",
    "author: Jane Austen; signature: minor",
    "the secretary's credentials are impeccable",
    "foreign_key: order_id, primary key = id",
    "x" * 5000,
    "日本語のテキスト、トークン:十二",
    _image(),
    _embedding(),
    _identifiers(),
]
