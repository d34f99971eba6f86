/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The job's backend. */
#include <stdio.h>

#include "engine/pipeline/device.h"

static const char *precision_name(enum cwj_precision precision)
{
	return precision == CWJ_PRECISION_BF16 ? "bf16" : "f32";
}

int cwe_run_device_open(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwe_device_choice choice = {.backend = run->job->backend, .gpu = run->p->gpu, .precision = run->job->precision};
	int r = cwe_device_open(run->p->registry, run->p->host, &choice, &run->device, err);
	return cwe_run_place(err, r, 0, 0, r == CWP_EVALUE ? "precision" : "backend", "");
}

json_t *cwe_run_device_json(const struct cwe_run *run)
{
	const struct cwe_device *d = &run->device;
	return json_pack("{s:s,s:s,s:s?,s:s?}", "backend", d->ops->describe(d->b), "precision", precision_name(d->precision), "uuid",
		d->uuid[0] != '\0' ? d->uuid : NULL, "why", d->why[0] != '\0' ? d->why : NULL);
}

void cwe_run_device_log(const struct cwe_run *run)
{
	const struct cwe_device *d = &run->device;
	const struct cwp_host *host = &run->p->host->table;
	char text[512];
	if (d->ops->flags & CWP_BACKEND_HOST_MEMORY) {
		return;
	}
	(void)snprintf(text, sizeof text, "backend: %s, %s, %s", d->ops->describe(d->b), precision_name(d->precision), d->uuid);
	host->log(host->ctx, CWP_LOG_INFO, text);
}
