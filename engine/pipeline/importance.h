/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One matrix's statistics through the scorer. Private to this folder. */
#pragma once

#include "engine/calibrate/statistics.h"
#include "engine/pipeline/run.h"

struct cwe_importance {
	struct cwe_run *run;
	float *value;         /* [largest module] of the matrix at hand, as it will lie on scratch */
	double *tile_sum;     /* [row tiles of the largest module] */
	int *tile_code;
	float *act[2];        /* [widest input] f32 of the sums and square sums */
	/* At hand. */
	const struct cwe_module_statistics *s;
	const struct cwe_run_module *m;
};

int cwe_importance_new(struct cwe_run *run, struct cwe_importance *ret, struct cwb_err *err);
void cwe_importance_free(struct cwe_importance *im);
/* Fills im->value and adds its sum to *sum, tile by tile. set: for errors. CWP_ENUMBER: not finite. */
int cwe_importance_of(struct cwe_importance *im, const struct cwe_run_module *m, const struct cwe_module_statistics *s,
	uint32_t set, double *sum, struct cwb_err *err);
