"""Durations as kubectl shows them: 59s, 5m30s, 3h, 3d4h, 2y30d (k8s.io/apimachinery/pkg/util/duration)."""

from __future__ import annotations

from quartermaster.local.apiserver.codec import seconds_of

UNKNOWN = "<unknown>"


def age(timestamp: object, now: float) -> str:
    """From an RFC 3339 time to `now` (seconds since 1970)."""
    then = seconds_of(timestamp)
    return UNKNOWN if then is None else human(now - then)


def human(seconds: float) -> str:
    """A duration in at most two units."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = whole // 3600
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    if days < 365 * 8:
        return f"{days // 365}y{days % 365}d" if days % 365 else f"{days // 365}y"
    return f"{days // 365}y"
