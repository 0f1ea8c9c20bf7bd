"""The public lists of signing keys and of revocations."""

from __future__ import annotations

import json

from support.site import Site

from evidence.key_list import HANDOVER, read_keys
from evidence.revocations import read_revocations
from ledger import signing_keys
from ledger.dsse import verify_envelope
from ledger.key_rotation import rotate
from ledger.log.sequencer import sequence


def test_before_any_rotation_one_key_is_listed(site: Site) -> None:
    (key,) = site.client.get("/v1/signing-keys").json()["items"]
    assert (key["state"], key["key_id"]) == ("active", site.world.ledger.ring.key_id())
    revocations = site.client.get("/v1/revocations").json()
    assert (revocations["items"], revocations["log"]) == ([], None)
    assert site.client.get("/v1/signing-keys/" + "0" * 16).status_code == 404


def test_keys_and_revocations_are_public_with_their_times(any_site: Site) -> None:
    ledger = any_site.world.ledger
    first, second = ledger.ring.key_id(), rotate(ledger).key_id
    with ledger.database.begin() as tx:
        signing_keys.revoke(tx, ledger.ring, first, reason="superseded")
    sequence(ledger.database, ledger.ring)
    reader = {"Authorization": f"Bearer {any_site.key('predict')}"}
    answer = any_site.client.get("/v1/signing-keys", headers=reader)
    old, new = answer.json()["items"]
    assert [(key["key_id"], key["state"]) for key in (old, new)] == [(first, "revoked"), (second, "active")]
    assert old["retired_at"] == new["activated_at"]
    assert (old["reason"], old["handover"], new["reason"]) == ("superseded", None, None)
    assert [key.key_id for key in read_keys(answer.text)] == [first, second]
    for key in (old, new):
        said = json.loads(verify_envelope(json.dumps(new["handover"]).encode(), key["public_key_pem"]))
        assert (said["old"], said["new"]) == (first, second)
    assert new["handover"]["payloadType"] == HANDOVER
    shown = any_site.client.get(f"/v1/signing-keys/{second}", headers=reader).json()
    assert shown["proof"].startswith("c2sp.org/tlog-proof@v1")
    assert any_site.client.get(f"/v1/signing-keys/{first}", headers=reader).json()["proof"] is None
    listed = any_site.client.get("/v1/revocations", headers=reader)
    (revocation,) = read_revocations(listed.text).values()
    assert (revocation.key_id, revocation.reason) == (first, "superseded")
    assert listed.json()["items"][0]["not_after"] == old["not_after"]
    assert listed.json()["log"].startswith("lacuna/")
