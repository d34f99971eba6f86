/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Records of data files, as plugins get them from the host. */
#include "engine/plugin/host_records.h"

#include "engine/text/records.h"

/* The SDK's opaque struct is the engine's. */
static struct cwe_records *mine(const struct cwp_records *records)
{
	return (struct cwe_records *)(uintptr_t)records;
}

static int explain(struct cwe_host *host, int rc, const struct cwb_err *err)
{
	if (rc < 0)
		host->table.fail(host, err->message);
	return rc;
}

static int records_open(void *ctx, const char *path, const struct cwp_record_source *source, struct cwp_records **ret)
{
	struct cwb_err err = {0};
	struct cwe_records *records = NULL;
	int rc = cwe_records_open(path, source->data, source->records, &records, &err);

	if (rc == 0) {
		*ret = (struct cwp_records *)records;
		((struct cwe_host *)ctx)->table.reads(ctx, path);
	}
	return explain(ctx, rc, &err);
}

static void records_close(void *ctx, struct cwp_records *records)
{
	(void)ctx;
	cwe_records_close(mine(records));
}

static uint64_t records_count(void *ctx, const struct cwp_records *records)
{
	(void)ctx;
	return cwe_records_count(mine(records));
}

static uint64_t records_line(void *ctx, const struct cwp_records *records, uint64_t i)
{
	(void)ctx;
	return cwe_records_line(mine(records), i);
}

static int records_text(void *ctx, struct cwp_records *records, uint64_t i, const char *column, const char **ret,
	size_t *ret_length)
{
	(void)ctx;
	return cwe_records_text(mine(records), i, column, ret, ret_length);
}

static int records_need(void *ctx, struct cwp_records *records, uint64_t i, const char *column, const char **ret,
	size_t *ret_length)
{
	struct cwb_err err = {0};

	return explain(ctx, cwe_records_need(mine(records), i, column, ret, ret_length, &err), &err);
}

static int records_calibrated(void *ctx, struct cwp_records *records, uint64_t i)
{
	struct cwe_host *host = ctx;
	char identity[CWE_ITEM_IDENTITY];

	if (!host->calibrated || cwe_records_identity(mine(records), i, identity) <= 0)
		return 0;
	int known = host->calibrated(host->calibrated_arg, identity) != 0;

	host->excluded += known != 0;
	return known;
}

void cwe_host_offer_records(struct cwe_host *host)
{
	host->table.records_open = records_open;
	host->table.records_close = records_close;
	host->table.records_count = records_count;
	host->table.records_line = records_line;
	host->table.records_text = records_text;
	host->table.records_need = records_need;
	host->table.records_calibrated = records_calibrated;
}
