/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* manifest.json: what makes an output folder finished. Written last; verify checks it. */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "base/known.h"

/* Outcomes of items beside the report, which tools read and engines do not. */
#define CWE_OUTCOMES_FILE "outcomes.jsonl"

/* Writes directory/manifest.json: facts (an object with job digest, inputs, plugins, backend, seed, counts) plus files
 * (size and SHA-256 of each file in the folder but itself) and content_digest (over the engine's files, protected.safetensors
 * and adapter/ only: SHA-256 of the lines "<sha256>  <name>\n" in name order, without report.*, outcomes.jsonl, README.md, protected.mask and
 * manifest.json).
 * Atomic, fsynced. */
int cwe_manifest_write(const char *directory, const json_t *facts, char ret_content_digest[65], struct cwb_err *err);
/* The same, where files that `known` knows are not read for their digests. */
int cwe_manifest_write_known(const char *directory, const json_t *facts, struct cwb_known *known, char ret_content_digest[65],
	struct cwb_err *err);

/* Checks the manifest, each file's size and digest, that no file is missing or extra, the headers of all safetensors, the
 * index, the overlay's structure. 0, or CWP_EFORMAT, CWP_EDIGEST, CWP_EMISSING naming file and remedy, or what
 * opening the output says (CWP_EVALUE: a quantization_config that we cannot run). ret_manifest may be NULL. */
int cwe_manifest_verify(const char *directory, json_t **ret_manifest, struct cwb_err *err);
