"""Writes api/tests/data/sigv4.json: requests as botocore signs them, for the tests of api/src/auth.

    python3 scripts/sigv4-vectors.py > api/tests/data/sigv4.json

Needs botocore. The clock stands still, so that the output is the same each time.
"""

import datetime
import json
import sys
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY = "AKIDEXAMPLE00000"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime.datetime(2026, 3, 2, 12, 34, 56, tzinfo=datetime.timezone.utc)
SSM = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.ListCommands"}

# Name, method, path and query, headers, body.
REQUESTS = [
    ("an operation", "POST", "/", SSM, '{"MaxResults": 5}'),
    ("an empty body", "POST", "/", SSM, ""),
    ("text beyond ASCII", "POST", "/", SSM, '{"Comment": "gr\u00fcn \U0001f40e"}'),
    ("headers with spaces", "POST", "/", {**SSM, "X-Amz-Meta": "  a   b\tc  ", "Accept": "*/*"}, "{}"),
    ("a stream of events", "GET", "/topics/patchwave/events", {"Accept": "text/event-stream"}, ""),
    ("every topic", "GET", "/topics/*/events", {}, ""),
    ("an encoded path", "GET", "/topics/a%20b/events", {}, ""),
    ("a path with dots", "GET", "/topics/./x/../patchwave//events", {}, ""),
    ("a query out of order", "GET", "/metrics?b=2&a=1&a=0&c", {}, ""),
    ("an encoded query", "GET", "/metrics?name=a%20b%2Fc&e=%C3%BC", {}, ""),
    ("a hash of the body sent along", "POST", "/", {**SSM, "X-Amz-Content-SHA256":
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}, "{}"),
]


def signed(signer, name, method, target, headers, body):
    request = AWSRequest(method=method, url="http://127.0.0.1:8080" + target, data=body.encode(), headers=headers)
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    with mock.patch.object(botocore.auth, "get_current_datetime", lambda: NOW):
        signer.add_auth(request)
    sent = request.prepare()
    rest = sent.url.split("127.0.0.1:8080", 1)[1]
    lines = [["host", "127.0.0.1:8080"]]
    lines += [[key.lower(), value if isinstance(value, str) else value.decode()] for key, value in sent.headers.items()]
    lines = [line for line in lines if line[0] not in ("content-length", "transfer-encoding")]
    return {"name": name, "method": method, "target": rest, "headers": lines, "body": body}


def main():
    credentials = Credentials(KEY, SECRET)
    vectors = []
    for region in ("local", "eu-central-1"):
        for request in REQUESTS:
            signer = botocore.auth.SigV4Auth(credentials, "ssm", region)
            vectors.append(signed(signer, *request))
    for name, method, target, headers, body in REQUESTS:
        if method == "GET":
            signer = botocore.auth.SigV4QueryAuth(credentials, "ssm", "local", expires=900)
            vectors.append(signed(signer, f"{name}, presigned", method, target, headers, body))
    for vector in vectors:
        sent = "".join(value for _, value in vector["headers"]) + vector["target"]
        assert NOW.strftime("%Y%m%dT%H%M%SZ") in sent, f"the clock of {vector['name']} did not stand still"
    json.dump({"access_key_id": KEY, "secret": SECRET, "now": NOW.isoformat(), "vectors": vectors}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
