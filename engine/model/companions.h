/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* More devices of a host beside the one that a model was opened on, each with the model on it. */
#pragma once

#include "engine/model/model.h"

struct cwe_companions {
	uint32_t n;
	struct cwe_host *host;     /* [n] each without threads of its own */
	struct cwe_device *device; /* [n] */
	struct cwe_model *model;   /* [n] */
	struct cwe_model **list;   /* [n] for struct cwe_calibration */
};

/* n devices of an open one's backend beside itself, in the backend's order; with `given` those of that list, in its order: UUIDs
 * or how they begin, commas between them. CWP_EMISSING: there are fewer. [worker] */
int cwe_companions_find(struct cwe_device *first, const char *given, uint32_t n, struct cwp_backend_device *ret, struct cwb_err *err);

/* Opens the n devices that were found, with the first model's precision. Lives as long as *first's weights. The first device is
 * the calling thread's again on return. [worker] */
int cwe_companions_open(struct cwe_registry *registry, const struct cwe_model *first, const struct cwp_backend_device *found,
	uint32_t n, struct cwe_companions *ret, struct cwb_err *err);
void cwe_companions_close(struct cwe_companions *c); /* before the first device; also fine on a zeroed one */
