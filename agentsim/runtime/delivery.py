"""A delivery as observers and log readers see it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Delivery(NamedTuple):
    """One message that reached its receiver; the fields of its log record, and the message itself.

    Args:
        seq: number of the delivery in the run, from 1.
        sent_at: virtual time of sending.
        delivered_at: virtual time of delivery.
        step: step within that time, 0 unless messages took no time.
        src: sending node.
        dst: receiving node.
        type: name of the message type.
        n: the sender's send number, from 1.
        copy: 0, or 1, 2, ... for duplicates made by the network.
        stamp: the sender's NCCC clock at sending.
        payload: the message's bytes.
        message: the decoded message, immutable.
    """

    seq: int
    sent_at: float
    delivered_at: float
    step: int
    src: str
    dst: str
    type: str
    n: int
    copy: int
    stamp: int
    payload: bytes
    message: Any
