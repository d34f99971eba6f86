# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""The one error of this package: a file, what is wrong with it, what to do."""


class CheckpointError(ValueError):
    """A checkpoint that is damaged, or of a kind that this package does not read."""
