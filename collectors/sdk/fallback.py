"""Frames to a receiver that knows none: an official Collector, or OTLP/gRPC."""

from __future__ import annotations

import logging
from collections import deque

from tidegauge.collectors.sdk.post import Answer, Lane, Later, Post, Refused, Taken

log = logging.getLogger(__name__)


class FramesOrLogs:
    """A way to deliver that sends frames as OTLP once it has learnt that the receiver takes no others.

    A frame that is delivered in part goes on where it stopped when it is tried again.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._as_logs = False
        self._frame: bytes | None = None
        self._left: deque[tuple[bytes, int]] = deque()
        self._rejected = Taken()

    def __call__(self, lane: Lane, payload: bytes) -> Answer:
        if lane is not Lane.FRAMES:
            return self._post(lane, payload)
        if not self._as_logs:
            answer = self._post(lane, payload)
            if not isinstance(answer, Refused) or not answer.unknown:
                return answer
            log.info("the receiver takes no frames (%s); sending them as OTLP from now on", answer.reason)
            self._as_logs = True
        return self._in_parts(payload)

    def close(self) -> None:
        self._post.close()

    def _in_parts(self, payload: bytes) -> Answer:
        if self._frame is not payload:
            from tidegauge.collectors.frames import read
            from tidegauge.collectors.sdk.frames_otlp import otlp_requests

            self._frame, self._left, self._rejected = payload, deque(otlp_requests(read(payload))), Taken()
        while self._left:
            request, count = self._left[0]
            answer = self._post(Lane.LOGS, request)
            if isinstance(answer, Later):
                return answer
            self._left.popleft()
            refused = count if isinstance(answer, Refused) else answer.rejected
            self._rejected = Taken(self._rejected.rejected + refused, answer.reason or self._rejected.reason)
        self._frame = None
        return self._rejected
