/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One protected result in another format or with another carrier, without quantizing again. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

struct cwe_convert_options {
	const char *output;    /* a finished output of a job, with codes */
	const char *directory; /* where the new one goes: does not exist yet */
	int format;            /* enum cwj_format */
	int carrier;           /* enum cwj_carrier */
	uint64_t shard;        /* bytes a shard at most */
};

/* Verifies the output, and writes its codes, scales and protected values as the options say, with a manifest of its own
 * that names the content_digest it was made from. CWP_EVALUE where the target cannot carry them, or needs weights that the
 * output does not have any more; what was begun is removed then. *ret_digest: of the new output. */
int cwe_output_convert(const struct cwe_convert_options *o, char ret_digest[65], struct cwb_err *err);
