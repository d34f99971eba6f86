/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Using a backend. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "engine/model/device.h"
#include "engine/plugin/settings.h"

int cwe_device_bytes(struct cwe_device *d, uint64_t n, void **ret, struct cwb_err *err)
{
	void *p = d->ops->alloc(d->b, n > 0 ? n : 64);
	if (p == NULL) {
		return cwb_err_set(err, -ENOMEM, "%s: no memory for %" PRIu64 " bytes beside the %zu in use",
			d->ops->describe(d->b), n, d->allocated);
	}
	d->allocated += n;
	if (d->allocated > d->peak) {
		d->peak = d->allocated;
	}
	*ret = p;
	return 0;
}

int cwe_device_floats(struct cwe_device *d, uint64_t n, float **ret, struct cwb_err *err)
{
	uint64_t bytes;
	void *p;
	if (__builtin_mul_overflow(n, sizeof(float), &bytes)) {
		return cwb_err_set(err, -ENOMEM, "%" PRIu64 " numbers do not fit any memory", n);
	}
	int r = cwe_device_bytes(d, bytes, &p, err);
	if (r == 0) {
		*ret = p;
	}
	return r;
}

void cwe_device_free(struct cwe_device *d, void *p, uint64_t bytes)
{
	if (p != NULL) {
		d->ops->free(d->b, p);
		d->allocated -= bytes;
	}
}

int cwe_device_check(struct cwe_device *d, const char *operation, int code, struct cwb_err *err)
{
	/* A device that is lost says so from here on; another process, or another device, goes on from the last checkpoint. */
	int told = code == CWP_ESTATE ? -ENODEV : code;
	return code == 0 ? 0 : cwe_host_error(d->host, d->plugin->descriptor->id, operation, told, err);
}

int cwe_device_enter(struct cwe_device *d, struct cwb_err *err)
{
	return cwe_device_check(d, "enter", d->ops->enter(d->b), err);
}

int cwe_device_copy(struct cwe_device *d, float *d_dst, const float *d_src, uint64_t n, struct cwb_err *err)
{
	return cwe_device_check(d, "copy", d->ops->copy(d->b, d_dst, d_src, n * sizeof *d_dst), err);
}

int cwe_device_load_begin(struct cwe_device *d, struct cwb_err *err)
{
	if (!cwe_device_remote(d)) {
		return 0;
	}
	if (d->loading) {
		return cwb_err_set(err, -EBUSY, "%s: weights are being loaded already", d->plugin->descriptor->id);
	}
	int r = cwe_device_check(d, "load_begin", d->ops->load_begin(d->b), err);
	d->loading = r == 0;
	return r;
}

int cwe_device_load_wait(struct cwe_device *d, struct cwb_err *err)
{
	d->loading = 0;
	return cwe_device_remote(d) ? cwe_device_check(d, "load_wait", d->ops->load_wait(d->b), err) : 0;
}

int cwe_device_remote(const struct cwe_device *d)
{
	return d != NULL && d->ops != NULL && !(d->ops->flags & CWP_BACKEND_HOST_MEMORY);
}

uint32_t cwe_device_boundary_dtype(const struct cwe_device *d)
{
	int i = cwe_device_remote(d) ? cwe_settings_index(d->plugin->descriptor, CWP_BACKEND_PRECISION) : -1;
	return i >= 0 && d->settings[i].string != NULL && strcmp(d->settings[i].string, "bf16") == 0 ? CWP_BF16 : CWP_F32;
}
