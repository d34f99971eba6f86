#!/bin/sh
# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
# The tests of backends on the checking one, which refuses what the interface does not allow: it is they that are tested. It
# computes in f32 whatever its precision says.
build=${CWP_BUILDDIR:-.}
plugin=$build/tests/plugins/fake/.libs/cuda.so
if [ ! -e "$plugin" ]; then
	echo "skipped: there is no $plugin"
	exit 77
fi
export CWP_TEST_BACKEND="$plugin" CWP_TEST_PRECISION=f32 CWP_TEST_SIZES=tiny CWP_FAKE_MEMORY=2000000000
failed=0
for name in attentions elements gradients products rows streams; do
	if ! "$build/tests/cuda/test_$name"; then
		echo "FAILED: test_$name"
		failed=1
	fi
done
exit $failed
