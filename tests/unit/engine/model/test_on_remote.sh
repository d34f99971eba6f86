#!/bin/sh
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
# Tests of the engine once more, on the checking backend, whose memory is its own.
set -eu
here=$CWP_BUILDDIR/tests/unit/engine/model
for precision in f32 bf16; do
	for test in layer resume shared; do
		[ "$precision$test" = bf16layer ] && continue # gradients against differences of losses: in f32 only
		CWP_TEST_REMOTE=$precision "$here/test_$test"
	done
done
if [ -r "$CWP_SHARED/golden/README.md" ]; then
	CWP_TEST_REMOTE=f32 "$CWP_BUILDDIR/tests/golden/test_model"
fi
