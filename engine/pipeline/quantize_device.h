/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Modules that are quantized on the GPU that calibrates, where quantizer and backend can do it and there is room. Private to
 * this folder. */
#pragma once

#include "engine/pipeline/quantize.h"

/* Bytes on the device for a run's largest module that can be quantized there; 0: none can. masked: weights may be protected. */
uint64_t cwe_quantizing_device_bytes(const struct cwe_run *run, int masked);
/* Takes them where the run was planned so (quantizes_there). */
int cwe_quantizing_device_new(struct cwe_quantizing *q, struct cwb_err *err);
void cwe_quantizing_device_free(struct cwe_quantizing *q);

/* Whether the module is one of those. */
int cwe_quantizing_is_there(const struct cwe_quantizing *q, const struct cwe_run_module *m);
/* cwe_quantizing_module() of one: the weight [rows, cols] is on the device. */
int cwe_quantizing_module_there(struct cwe_quantizing *q, const struct cwe_run_module *m, const float *d_weight, const void *state,
	struct cwb_err *err);
/* What the quantizer returned for such a module: a device that is lost may be there again in another attempt. */
int cwe_quantizing_failed(const struct cwe_run *run, const struct cwe_run_module *m, int code, struct cwb_err *err);
/* q->weight, as cwe_quantizing_decode() left it, to the device. */
int cwe_quantizing_send(struct cwe_quantizing *q, const struct cwe_run_module *m, float *d_weight, struct cwb_err *err);
