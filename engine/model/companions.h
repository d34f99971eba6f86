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

/* Opens n devices of the first model's backend with its precision, in the backend's order, its own left out. CWP_EMISSING: there
 * are fewer. Lives as long as *first's weights. The first device is the calling thread's again on return. */
int cwe_companions_open(struct cwe_registry *registry, const struct cwe_model *first, uint32_t n, struct cwe_companions *ret,
	struct cwb_err *err);
void cwe_companions_close(struct cwe_companions *c); /* before the first device; also fine on a zeroed one */
