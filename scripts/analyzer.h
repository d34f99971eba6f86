/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Read by clang-tidy in front of every file: what it cannot see by itself. A function that says what went wrong returns
 * a negative code, so that `return cwb_err_set(...)` is never taken for success. */
#pragma once

#include "base/err.h"

static inline int cwb_negative(int code)
{
	return code < 0 ? code : -1;
}

#define cwb_err_set(...) cwb_negative((cwb_err_set)(__VA_ARGS__))
#define cwb_err_errno(...) cwb_negative((cwb_err_errno)(__VA_ARGS__))
#define cwb_err_prefix(...) cwb_negative((cwb_err_prefix)(__VA_ARGS__))
