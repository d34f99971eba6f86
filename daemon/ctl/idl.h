/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The interface texts, made from daemon/ctl/idl/ at build time. */
#pragma once

extern const char cwd_idl_org_varlink_service[];
extern const char cwd_idl_org_cwpd_Jobs[];
extern const char cwd_idl_org_cwpd_Admin[];
extern const char cwd_idl_org_cwpd_Metrics[];
