#!/bin/sh
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
# Tests of the engine once more, on the checking backend, whose memory is its own.
set -eu
here=$CWP_BUILDDIR/tests/unit/engine/model
for test in layer shared; do
	CWP_TEST_REMOTE=f32 "$here/test_$test"
done
CWP_TEST_REMOTE=f32 CWP_TEST_ROOM=0 "$here/test_resume"
CWP_TEST_REMOTE=bf16 CWP_TEST_ROOM=10000 "$here/test_resume" # some boundaries on the device
if [ -r "$CWP_SHARED/golden/README.md" ]; then
	CWP_TEST_REMOTE=f32 "$CWP_BUILDDIR/tests/golden/test_model"
fi
