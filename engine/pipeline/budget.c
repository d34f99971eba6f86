/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a budget leaves for the overlay. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "engine/pipeline/budget.h"
#include "engine/pipeline/report.h"

/* The most bytes that are at most this many bits a weight, as a manifest counts them. */
static uint64_t bytes_of_bits(double bits, uint64_t weights)
{
	uint64_t bytes = (uint64_t)(bits / 8 * (double)weights);

	while (bytes > 0 && 8.0 * (double)bytes / (double)weights > bits) {
		bytes--;
	}
	while (8.0 * (double)(bytes + 1) / (double)weights <= bits) {
		bytes++;
	}
	return bytes;
}

static int too_small(const struct cwe_run *run, uint64_t least, const char *with, struct cwb_err *err)
{
	const struct cwj_job *job = run->job;
	int r;

	if (job->bits > 0) {
		double bits = ceil(8e4 * (double)least / (double)run->weights) / 1e4;
		r = cwb_err_set(err, CWP_EVALUE, "protect.bits: %g bits a weight are too few: %s the output takes %.4f; write at "
			"least that", job->bits, with, bits);
		return cwe_run_place(err, r, 0, 0, "protect", "bits");
	}
	r = cwb_err_set(err, CWP_EVALUE, "protect.bytes: %" PRIu64 " bytes are too few: %s the output takes %" PRIu64
		"; write at least that", job->bytes, with, least);
	return cwe_run_place(err, r, 0, 0, "protect", "bytes");
}

int cwe_run_budget(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwj_job *job = run->job;
	struct cwe_budget *b = &run->budget;
	struct cwe_writer_options options = cwe_run_writer_options(run, 1);
	struct cwe_writer_size size;
	uint64_t reports = 0;
	size_t n = 0;
	*b = (struct cwe_budget){0};
	if (run->scorer == NULL || (job->bits <= 0 && job->bytes == 0)) {
		return 0;
	}
	struct cwe_output_module *module = cwe_run_output_modules(run, &n, err);
	int r = module != NULL ? cwe_writer_measure(run->source, &options, module, n, &size, err) : -ENOMEM;
	free(module);
	if (r == 0 && job->bytes > 0) {
		r = cwe_run_report_bytes(run, size.n_files, &reports, err);
	}
	if (r != 0) {
		return r;
	}
	b->files = job->bytes > 0;
	b->fixed = b->files ? size.files + reports : size.quantized_bytes;
	b->total = b->files ? job->bytes : bytes_of_bits(job->bits, run->weights);
	return b->total >= b->fixed ? 0 : too_small(run, b->fixed, "without any protection", err);
}

/* What a super weight takes in the reports and the manifest. */
#define SUPER_TEXT 600u

static uint64_t fixed(const struct cwe_run *run)
{
	return run->budget.fixed + (run->budget.files ? run->supers * SUPER_TEXT : 0);
}

uint64_t cwe_budget_left(const struct cwe_run *run)
{
	return run->budget.total > fixed(run) ? run->budget.total - fixed(run) : 0;
}

int cwe_budget_refuse(const struct cwe_run *run, uint64_t overlay, struct cwb_err *err)
{
	return too_small(run, fixed(run) + overlay, "with no more than its super weights protected", err);
}

int cwe_budget_kept(const struct cwe_run *run, double bits, uint64_t bytes, struct cwb_err *err)
{
	const struct cwj_job *job = run->job;

	if (run->budget.total == 0) {
		return 0;
	}
	if (run->budget.files ? bytes > job->bytes : bits > job->bits) {
		return cwb_err_set(err, CWP_ESTATE, "the output takes %" PRIu64 " bytes and %.6f bits a weight, which is more than its "
			"budget; please report this with the job file", bytes, bits);
	}
	return 0;
}
