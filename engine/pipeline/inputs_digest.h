/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Digests of files that a job reads. Private to this folder. */
#pragma once

#include "engine/pipeline/run.h"

struct cwe_input_file {
	char *path;
	uint64_t size;
	char hex[CWB_DIGEST_HEX];
	int code; /* of the error, if any */
	struct cwb_err err;
};

/* Fills in sizes and digests of n files, several at a time: from run->known where they are known, else of their bytes. The first
 * error in their order. [worker] */
int cwe_inputs_digest(struct cwe_run *run, struct cwe_input_file *input, size_t n, struct cwb_err *err);
