/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* protect: how much may be protected, said in one of four ways, and what goes with each. */
#include <errno.h>
#include <string.h>

#include "job/job_check.h"
#include "job/job_table.h"
#include "job/schema_value.h"

int cwj_job_protects(const struct cwj_job *job)
{
	return job->has_protect &&
	       (job->fraction > 0 || job->bits > 0 || job->bytes > 0 || job->n_masks > 0);
}

int cwj_job_selects(const struct cwj_job *job)
{
	return cwj_job_protects(job) && job->n_masks == 0;
}

/* As any number, but above 0: nothing is stored in 0 bits. */
static int bits_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	struct cwj_job *job = &((struct cwj_draft *)target)->job;
	struct cwj_key number = {.kind = CWJ_NUMBER,
		.offset = offsetof(struct cwj_job, bits),
		.least = key->least,
		.most = key->most,
		.remedy = key->remedy};
	int rc = cwj_value_read(r, &number, node, (char *)job);

	return rc == 0 && job->bits <= 0
		       ? cwj_fail(r, node, CWP_EVALUE, "%g is not above 0; %s", job->bits, key->remedy)
		       : rc;
}

static int bits_json(json_t *object, const struct cwj_key *key, const void *target)
{
	double bits = ((const struct cwj_draft *)target)->job.bits;

	return bits > 0 && json_object_set_new(object, key->name, json_real(bits)) < 0 ? -ENOMEM : 0;
}

const struct cwj_custom cwj_budget_bits = {.read = bits_read, .json = bits_json};

/* A size with its unit, or bytes as a whole number: what an error names as the least is no round one. */
static int bytes_read(
	struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node, void *target)
{
	int plain = node->kind == CWJ_YAML_SCALAR && node->text[strspn(node->text, "0123456789")] == '\0';
	struct cwj_key size = {.kind = plain ? CWJ_COUNT : CWJ_SIZE,
		.offset = offsetof(struct cwj_job, bytes),
		.low = key->low,
		.high = UINT64_C(0x7fffffffffffffff),
		.remedy = key->remedy};

	return cwj_value_read(r, &size, node, (char *)&((struct cwj_draft *)target)->job);
}

static int bytes_json(json_t *object, const struct cwj_key *key, const void *target)
{
	json_int_t bytes = (json_int_t)((const struct cwj_draft *)target)->job.bytes;

	return bytes > 0 && json_object_set_new(object, key->name, json_integer(bytes)) < 0 ? -ENOMEM : 0;
}

const struct cwj_custom cwj_budget_bytes = {.read = bytes_read, .json = bytes_json};

/* A size is known for what the overlay stores. */
static int check_size(struct cwj_reader *r, const struct cwj_yaml *node, const struct cwj_job *job,
	const char *budget)
{
	if (job->carrier != CWJ_CARRIER_OVERLAY) {
		return cwj_job_fail_at(r, node, "protect", budget,
			"is a budget for what an overlay stores; use carrier: overlay, or write a fraction");
	}
	if (job->format == CWJ_FORMAT_DENSE) {
		return cwj_job_fail_at(r, node, "protect", budget,
			"a dense output has the same size whatever is protected; use write.format: compressed-tensors, or "
			"write a fraction");
	}
	return 0;
}

int cwj_job_protect_check(struct cwj_reader *r, const struct cwj_yaml *node, const void *draft)
{
	static const char *const budget[] = {"fraction", "bits", "bytes", "mask"};
	const struct cwj_job *job = &((const struct cwj_draft *)draft)->job;
	const struct cwj_yaml *protect = cwj_yaml_get(node, "protect");
	const char *first = NULL;

	if (!job->has_protect) {
		return 0;
	}
	for (size_t i = 0; i < sizeof(budget) / sizeof(budget[0]); i++) {
		if (cwj_yaml_get(protect, budget[i]) == NULL) {
			continue;
		}
		if (first != NULL) {
			return cwj_job_fail_at(r, node, "protect", budget[i],
				"is a second budget; write one of: fraction, bits, bytes, mask");
		}
		first = budget[i];
	}
	if (first == NULL) {
		return cwj_fail_missing(r, protect, "protect.fraction",
			"say how much to protect, such as fraction: 0.05 (or bits, bytes, mask)");
	}
	if (job->combine_masks != CWJ_MASKS_UNION && job->n_masks < 2) {
		return cwj_job_fail_at(r, node, "protect", "combine-masks", "needs at least two folders under mask");
	}
	return job->bits > 0 || job->bytes > 0 ? check_size(r, node, job, first) : 0;
}
