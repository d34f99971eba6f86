/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A backend with its handle and host, and failures turned into errors: what the engine's numeric code calls. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cwp/backend.h>

#include "base/err.h"
#include "engine/plugin/host.h"
#include "engine/plugin/registry.h"
#include "job/job.h"

struct cwe_device {
	const struct cwp_backend *ops;
	void *b;
	struct cwe_host *host; /* borrowed */
	const struct cwe_plugin *plugin;
	struct cwp_setting *settings;
	size_t allocated; /* bytes in use, for reports */
	size_t peak;
	int loading;  /* between load_begin and load_wait */
	uint64_t boundary_room; /* bytes of alloc() that boundaries may take, on a backend with memory of its own; who planned says it */
	enum cwj_precision precision; /* of products: F32 or BF16 */
	const atomic_int *stop; /* not 0 there: what runs here ends, as if cancelled; NULL: nobody says so */
	char uuid[64];    /* "" where there is nothing to choose from */
	char why[256];    /* why auto took the CPU; "": it did not, or was not asked for */
};

/* What is asked for. */
struct cwe_device_choice {
	const char *backend; /* as in a job: "auto", "cpu", "cuda", "cuda:UUID"; NULL: "cpu" */
	const char *gpu;     /* UUID of the one that auto and cuda take; "none": auto takes none; NULL: the first one */
	enum cwj_precision precision;
};

/* Opens a backend. auto takes cuda where that plugin can be opened and finds a GPU, else cpu. Precision auto is f32 in the
 * host's memory, else bf16 where the backend has it. CWP_EMISSING: no such device or no driver; CWP_EUNKNOWN, CWP_EPLUGIN: no
 * such plugin, or one that cannot be loaded; CWP_EVALUE: a precision that the backend does not have; -ENOMEM: another program
 * holds the device's memory. [worker] */
int cwe_device_open(struct cwe_registry *registry, struct cwe_host *host, const struct cwe_device_choice *choice,
	struct cwe_device *ret, struct cwb_err *err);
void cwe_device_close(struct cwe_device *d);

/* 1 on a backend with memory of its own; 0 also where none is opened yet. */
int cwe_device_remote(const struct cwe_device *d);
/* enum cwp_dtype in which activations are kept between layers: what the backend's products round to, where its memory is its
 * own, else CWP_F32. */
uint32_t cwe_device_boundary_dtype(const struct cwe_device *d);

/* Operations come from the calling thread from here on (enter() of backend.h). */
int cwe_device_enter(struct cwe_device *d, struct cwb_err *err);

/* n f32 elements of device memory; freed with cwe_device_free. n = 0 gives a valid pointer. */
int cwe_device_floats(struct cwe_device *d, uint64_t n, float **ret, struct cwb_err *err);
int cwe_device_bytes(struct cwe_device *d, uint64_t n, void **ret, struct cwb_err *err);
void cwe_device_free(struct cwe_device *d, void *p, uint64_t bytes);

/* Turns the return of a backend operation into an error that names it. CWP_ESTATE, a device that is lost, becomes -ENODEV: it
 * may pass. */
int cwe_device_check(struct cwe_device *d, const char *operation, int code, struct cwb_err *err);

/* Around loads (backend.h), one time of loading at a time (-EBUSY); nothing where memory is the host's. */
int cwe_device_load_begin(struct cwe_device *d, struct cwb_err *err);
int cwe_device_load_wait(struct cwe_device *d, struct cwb_err *err);

/* d_dst = d_src, n f32, both on the device. */
int cwe_device_copy(struct cwe_device *d, float *d_dst, const float *d_src, uint64_t n, struct cwb_err *err);
