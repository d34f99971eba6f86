/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One protected result in another format or with another carrier, without quantizing again. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/format/output.h"

/* What a conversion made, for its report. */
struct cwe_converted {
	const json_t *manifest; /* of the output that it was made from */
	const char *from;       /* that one's content_digest */
	const char *format, *carrier;
	const struct cwe_output_module *module; /* [count] that have codes, or had them where the values are dense now */
	size_t count;
	const json_t *kept;     /* names of modules that are whole */
	struct cwe_output_size size;
	uint64_t whole_bytes;   /* of size.other_bytes: modules without codes */
	uint64_t weights;       /* that the quantizer had */
	struct cwe_writer_adapter adapter; /* all 0 with other carriers */
};

struct cwe_convert_options {
	const char *output;    /* a finished output of a job, with codes */
	const char *directory; /* where the new one goes: does not exist yet */
	int format;            /* enum cwj_format */
	int carrier;           /* enum cwj_carrier */
	uint64_t shard;        /* bytes a shard at most */
	/* May be NULL. Called when everything but the manifest is there: what it puts into the directory the manifest lists. */
	int (*report)(const struct cwe_convert_options *o, const struct cwe_converted *made, struct cwb_err *err);
};

/* Bits of a quantized weight, as stored, as a job's report counts them; 0 where there are none. */
double cwe_converted_bits(const struct cwe_converted *made);

/* Verifies the output, and writes its codes, scales and protected values as the options say, with a manifest of its own
 * that names the content_digest it was made from. CWP_EVALUE where the target cannot carry them, or needs weights that the
 * output does not have any more; what was begun is removed then. *ret_digest: of the new output. */
int cwe_output_convert(const struct cwe_convert_options *o, char ret_digest[65], struct cwb_err *err);
