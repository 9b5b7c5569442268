"""Each form of secret is told by kind and place; placeholders, names and the texts of honest models are not."""

import base64
import hashlib
import json
import random
import string
import zlib

import pytest

from fastness.foundation.text import SHORTEST, first_secret, secrets_in

R = random.Random(20)
LETTERS = string.ascii_letters + string.digits
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def some(length: int, alphabet: str = LETTERS) -> str:
    """Random, with one digit and one letter at least."""
    made = [R.choice(alphabet) for _ in range(length)]
    made[1], made[2] = "7", next(c for c in alphabet if c.isalpha())
    return "".join(made)


def checksummed(prefix: str, body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return prefix + body + digits.rjust(6, "0")


def b64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


PEM = "-----BEGIN {}PRIVATE KEY-----\n" + some(64) + "\n" + some(64) + "\n-----END {}PRIVATE KEY-----"
JWT = f"{b64({'alg': 'HS256', 'typ': 'JWT'})}.{b64({'sub': '17', 'iat': 1516239022})}.{some(43)}"
MACAROON = "pypi-" + base64.urlsafe_b64encode(b"\x02\x01\x08py" + b"pi.org\x02\x24" + R.randbytes(80)).decode().rstrip(
    "="
)

SECRETS = {
    # kind: texts that hold one
    "private key": [
        PEM.format("RSA ", "RSA "),
        PEM.format("", ""),
        PEM.format("OPENSSH ", "OPENSSH "),
        json.dumps(PEM.format("EC ", "EC ")),
        "PuTTY-User-Key-File-3: ssh-ed25519",
    ],
    "AWS access key": ["AKIA" + "Q7ZT3MNPLK2WXY5R", "key=ASIA" + some(16, string.ascii_uppercase + "234567")],
    "AWS secret key": [
        f'"aws_secret_access_key": "{some(40)}"',
        f"AWS_SECRET_ACCESS_KEY={some(40)}",
        f"secretAccessKey: '{some(20)}/{some(19)}'",
    ],
    "Google key": ["AIza" + some(35)],
    "Google client secret": ["GOCSPX-" + some(28)],
    "Google access token": ["ya29." + some(60)],
    "Azure storage key": [f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={some(86)}=="],
    "Azure client secret": ["abc8Q~" + some(34)],
    "Azure shared access signature": [f"https://a.blob.core.windows.net/c?sv=2022&sig={some(43)}%3D"],
    "GitHub token": [checksummed("ghp_", some(30)), "gho_" + some(36), "github_pat_" + some(22) + "_" + some(59)],
    "GitLab token": ["glpat-" + some(20)],
    "Hugging Face token": ["hf_" + some(34, string.ascii_letters), "token: hf_" + some(34)],
    "Anthropic key": ["sk-ant-api03-" + some(93) + "AA"],
    "OpenAI key": ["sk-" + some(20) + "T3BlbkFJ" + some(20), "sk-proj-" + some(60) + "T3BlbkFJ" + some(60)],
    "model provider key": ["sk-" + some(48), "gsk_" + some(52), "xai-" + some(80), "r8_" + some(37)],
    "Slack token": ["xoxb-918273645546-" + some(24), "xapp-1-A02-" + some(40)],
    "Slack webhook": ["https://hooks.slack.com/services/" + f"T{some(8)}/B{some(8)}/{some(24)}"],
    "Stripe key": ["sk_" + "live_" + some(24), "rk_" + "test_" + some(30)],
    "npm token": [checksummed("npm_", some(30))],
    "PyPI token": [MACAROON],
    "SendGrid key": [f"SG.{some(22)}.{some(43)}"],
    "Databricks token": ["dapi" + some(32, "0123456789abcdef")],
    "DigitalOcean token": ["dop_v1_" + some(64, "0123456789abcdef")],
    "Docker token": ["dckr_pat_" + some(27)],
    "Vault token": ["hvs." + some(90)],
    "Telegram bot token": ["918273645:AA" + some(33)],
    "Shopify token": ["shpat_" + some(32, "0123456789abcdef")],
    "RubyGems key": ["rubygems_" + some(48, "0123456789abcdef")],
    "Weights & Biases key": ['wandb_api_key: "' + some(40, "0123456789abcdef") + '"'],
    "JSON web token": [JWT, f"Authorization: Bearer {JWT}"],
    "password in an address": ["postgresql+psycopg://app:tr0ub4dor&3@db.internal/models", "https://ci:" + some(20) + "@git.internal/x.git"],
    "password": [
        'password = "tr0ub4dor&3x"',
        '"db_password": "Wq8#kk2Lz0p"',
        "api_key='9f8e7d6c5b4a3f2e1d0c'",
        "MLFLOW_TRACKING_PASSWORD=Wq8kk2Lz0pT",
        "client-secret: Jx83kdLsm2Qp",
        f'hub_token="{some(30)}"',
    ],
}  # fmt: skip
CASES = [(kind, text) for kind, texts in SECRETS.items() for text in texts]


@pytest.mark.parametrize(("kind", "text"), CASES, ids=[f"{kind} {i}" for i, (kind, _) in enumerate(CASES)])
def test_a_secret_is_told_by_kind_and_place(kind: str, text: str) -> None:
    assert first_secret(text) == kind
    before = "some words before it\n"
    (secret,) = secrets_in(before + text + "\nand after")
    assert secret.kind == kind
    assert len(before) <= secret.start < secret.end <= len(before) + len(text)


HONEST = """
pad_token: "[PAD]"
"eos_token": "<|endoftext|>", "bos_token": "<s>", "mask_token": "<mask>", "unk_token": "[UNK]"
"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]
"tokenizer_class": "PreTrainedTokenizerFast"
encoder.layers.11.self_attention.key.weight: torch.float32
"api_key": "YOUR_API_KEY_HERE1"
api_key = os.environ["OPENAI_API_KEY"]
api_key = "xxxxxxxxxxxxxxxxxxxx1"
token = "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
token="<your-token-123>"
password = "changeme123"
password: ${DB_PASSWORD_1}
password = getpass.getpass2()
password="{{ secrets.password1 }}"
export HF_TOKEN=hf_your_token_goes_right_here_123456
AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
postgresql://user:password@localhost/db
https://user:<password>@example.org/
redis://localhost:6379/0
sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
"_commit_hash": "5546055f03398095e385d7dc625e636cc8910bf2"
"secret_santa": "nobody"
-----BEGIN PUBLIC KEY-----
-----BEGIN CERTIFICATE-----
-----BEGIN RSA PRIVATE KEY-----
...
-----END RSA PRIVATE KEY-----
sk-learn is written scikit-learn-and-not-otherwise-please-remember
task-specific-model-heads-with-many-hyphens-and-words-in-their-names
eyJhbGciOi.eyJzdWIi.not-a-token
npm_config_registry_is_a_setting_of_npm_and_no_token
"primary_key": "customer_id_17"
"access_token": null
hidden_size=768, intermediate_size=3072, num_attention_heads=12
key: 1234567890
"max_position_embeddings": 512, "password_length": 16
access_key = config.access_key2
The password: see the manual of 2024-05-17
""".strip().splitlines()


@pytest.mark.parametrize("text", HONEST)
def test_placeholders_names_and_configurations_are_none(text: str) -> None:
    assert secrets_in(text) == []


def test_all_honest_lines_in_one_text_hold_none() -> None:
    assert secrets_in("\n".join(HONEST)) == []


def test_random_text_holds_none() -> None:
    noise = random.Random(1)
    for alphabet in (LETTERS, LETTERS + "+/=", string.printable, "0123456789abcdef"):
        assert secrets_in("".join(noise.choices(alphabet, k=200_000))) == []


def test_several_are_told_in_order_and_once() -> None:
    text = "\n".join(['password = "tr0ub4dor&3x"', "AKIA" + "Q7ZT3MNPLK2WXY5R", PEM.format("", "")])
    assert [secret.kind for secret in secrets_in(text)] == ["password", "AWS access key", "private key"]


def test_the_secret_is_not_kept() -> None:
    (secret,) = secrets_in("AKIA" + "Q7ZT3MNPLK2WXY5R")
    assert "Q7ZT" not in repr(secret)


def test_no_secret_is_shorter_than_said() -> None:
    assert min(s.end - s.start for _, text in CASES for s in secrets_in(text)) >= SHORTEST


@pytest.mark.parametrize(
    "text", ["password" * 20_000, "pass_" * 20_000 + '="', "a://" * 50_000, "eyJ" * 50_000, "-----BEGIN A " * 20_000, "aws" * 50_000, "=" * 200_000]
)  # fmt: skip
@pytest.mark.timeout(10)
def test_texts_made_to_be_slow_are_not(text: str) -> None:
    assert secrets_in(text) == []


def test_secrets_in_hexadecimal_digits_are_found_and_digests_are_not() -> None:
    token = "ghp_" + SECRETS["GitHub token"][0].rpartition("ghp_")[2][:36]
    for shown in (token.encode().hex(), token.encode().hex().upper(), f'{{"x": "{("a=" + token).encode().hex()}0"}}'):
        assert first_secret(shown) == "GitHub token in hexadecimal digits"
    digests = "\n".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(200))
    assert first_secret(digests) == ""
