#include "server/latency_import.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/rpc/latency_convert.h"
#include "server/rpc/status_convert.h"

namespace amc {
namespace {

// What a request may have, with room for the rest of it: a table that grew by extending can still
// be imported elsewhere.
constexpr size_t kMaxTableBytes = (size_t{8} << 20) - 4096;

// `more` added to a stored table.
absl::StatusOr<LatencyTable> Extended(Store& store, const std::string& digest,
                                      const LatencyTable& more) {
  const absl::StatusOr<v1::LatencyTableInfo> base = store.FindLatencyTable(digest);
  if (!base.ok()) return AtField(base.status(), "extend");
  AMC_ASSIGN_OR_RETURN(const v1::LatencyTable stored, store.GetLatencyTable(base->digest()));
  absl::StatusOr<LatencyTable> extended = ExtendLatencyTable(FromProto(stored), more);
  if (!extended.ok()) return AtField(extended.status(), "table");
  const absl::Status size = CheckLatencyTableSize(*extended);
  if (!size.ok()) {
    return AtField(
        Annotate(size, absl::StrCat("with the ", stored.rows_size(), " rows of ", base->digest())),
        "table");
  }
  return extended;
}

}  // namespace

absl::Status CheckLatencyTableSize(const LatencyTable& table) {
  const size_t bytes = ToProto(table).ByteSizeLong();
  if (bytes <= kMaxTableBytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("it has ", table.rows.size(), " rows and ",
                                                   bytes, " bytes, more than the ", kMaxTableBytes,
                                                   " of a table"));
}

absl::StatusOr<v1::LatencyTableInfo> StoreLatencyTable(Store& store, const LatencyTable& table,
                                                       absl::Time now) {
  v1::LatencyTableInfo info = DescribeLatencyTable(table);
  info.set_import_time_ms(absl::ToUnixMillis(now));
  return store.PutLatencyTable(info, ToProto(table));
}

// Tables are known by their contents and never change: all that another call can do between the
// steps is to delete the one that is extended.
absl::StatusOr<v1::LatencyTableInfo> ImportLatencyTable(
    Store& store, const v1::ImportLatencyTableRequest& request, absl::Time now) {
  LatencyTable table = FromProto(request.table());
  if (request.extend().empty()) {
    AMC_RETURN_IF_ERROR(AtField(CheckLatencyTable(table), "table"));
    SortLatencyTable(table);
  } else {
    AMC_ASSIGN_OR_RETURN(table, Extended(store, request.extend(), table));
  }
  return StoreLatencyTable(store, table, now);
}

}  // namespace amc
