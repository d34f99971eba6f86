/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The job's backend, and what is told of it. */
#include <stdio.h>
#include <unistd.h>

#include "engine/pipeline/device.h"
#include "engine/pipeline/several.h"

/* What boundaries that have no room on a GPU take of the host's memory at most, before they go to scratch; what a job without
 * a limit takes of it for speed. */
#define HOST_PART 4u

static const char *precision_name(enum cwj_precision precision)
{
	return precision == CWJ_PRECISION_BF16 ? "bf16" : "f32";
}

static uint64_t all_memory(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t cwe_run_memory_most(const struct cwe_run *run)
{
	uint64_t limit = run->job->limits.memory;
	return limit > 0 ? limit : run->p->memory > 0 ? run->p->memory : all_memory() / HOST_PART;
}

int cwe_run_device_open(struct cwe_run *run, struct cwb_err *err)
{
	char first[64];
	const struct cwe_device_choice choice = {.backend = run->job->backend, .gpu = cwe_run_several_first(run, first),
		.precision = run->job->precision};
	int r = cwe_device_open(run->p->registry, run->p->host, &choice, &run->device, err);
	run->boundary_memory = CWE_BOUNDARY_MEMORY;
	if (r == 0 && cwe_device_remote(&run->device)) {
		uint64_t limit = run->job->limits.memory, all = all_memory();
		uint64_t part = (limit > 0 && limit < all ? limit : all) / HOST_PART;
		run->boundary_memory = part > CWE_BOUNDARY_MEMORY ? part : CWE_BOUNDARY_MEMORY;
	}
	r = cwe_run_place(err, r, 0, 0, "backend", "");
	return r == 0 ? cwe_run_several_find(run, err) : r;
}

json_t *cwe_run_device_json(const struct cwe_run *run)
{
	const struct cwe_device *d = &run->device;
	return json_pack("{s:s,s:s,s:s?,s:i,s:o,s:s?}", "backend", d->ops->describe(d->b), "precision", precision_name(d->precision), "uuid",
		d->uuid[0] != '\0' ? d->uuid : NULL, "gpus", (int)run->several.n, "uuids", cwe_run_several_json(run), "why",
		d->why[0] != '\0' ? d->why : NULL);
}

void cwe_run_device_log(const struct cwe_run *run)
{
	const struct cwe_device *d = &run->device;
	const struct cwp_host *host = &run->p->host->table;
	char text[512];
	if (!cwe_device_remote(d)) {
		return;
	}
	(void)snprintf(text, sizeof text, "backend: %s, %s", d->ops->describe(d->b), d->uuid);
	host->log(host->ctx, CWP_LOG_INFO, text);
}
