#include "server/rpc/latency_convert.h"

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"

namespace amc {
namespace {

v1::LatencyFit ToProto(const LatencyFit& fit) {
  v1::LatencyFit proto;
  proto.set_model(fit.model);
  proto.set_layers(fit.layers);
  proto.set_byte_us(fit.byte_us);
  proto.set_channel_us(fit.channel_us);
  proto.set_constant_us(fit.constant_us);
  proto.set_networks(fit.networks);
  proto.set_median_error(fit.median_error);
  proto.set_p95_error(fit.p95_error);
  proto.set_repeatability(fit.repeatability);
  return proto;
}

}  // namespace

v1::LatencySetting ToProto(const LatencySetting& setting) {
  v1::LatencySetting proto;
  proto.set_device(setting.device);
  proto.set_runtime(setting.runtime);
  proto.set_version(setting.version);
  proto.set_threads(setting.threads);
  proto.set_batch(setting.batch);
  return proto;
}

v1::LatencyRow ToProto(const LatencyRow& row) {
  v1::LatencyRow proto;
  proto.set_layer(row.layer);
  proto.set_in(row.in);
  proto.set_out(row.out);
  proto.set_median_us(row.median_us);
  proto.set_spread_us(row.spread_us);
  return proto;
}

v1::LatencyTable ToProto(const LatencyTable& table) {
  v1::LatencyTable proto;
  *proto.mutable_setting() = ToProto(table.setting);
  proto.set_date(table.date);
  proto.set_tolerance(table.tolerance);
  proto.mutable_rows()->Reserve(static_cast<int>(table.rows.size()));
  for (const LatencyRow& row : table.rows) *proto.add_rows() = ToProto(row);
  for (const LatencyFit& fit : table.fits) *proto.add_fits() = ToProto(fit);
  return proto;
}

LatencySetting FromProto(const v1::LatencySetting& setting) {
  return {.device = setting.device(),
          .runtime = setting.runtime(),
          .version = setting.version(),
          .threads = setting.threads(),
          .batch = setting.batch()};
}

LatencyRow FromProto(const v1::LatencyRow& row) {
  return {.layer = row.layer(),
          .in = row.in(),
          .out = row.out(),
          .median_us = row.median_us(),
          .spread_us = row.spread_us()};
}

LatencyTable FromProto(const v1::LatencyTable& table) {
  LatencyTable result;
  result.setting = FromProto(table.setting());
  result.date = table.date();
  result.tolerance = table.tolerance();
  result.rows.reserve(static_cast<size_t>(table.rows_size()));
  for (const v1::LatencyRow& row : table.rows()) result.rows.push_back(FromProto(row));
  for (const v1::LatencyFit& fit : table.fits()) {
    result.fits.push_back({.model = fit.model(),
                           .layers = fit.layers(),
                           .byte_us = fit.byte_us(),
                           .channel_us = fit.channel_us(),
                           .constant_us = fit.constant_us(),
                           .networks = fit.networks(),
                           .median_error = fit.median_error(),
                           .p95_error = fit.p95_error(),
                           .repeatability = fit.repeatability()});
  }
  return result;
}

v1::LatencyTableInfo DescribeLatencyTable(const LatencyTable& table) {
  absl::flat_hash_set<absl::string_view> layers;
  for (const LatencyRow& row : table.rows) layers.insert(row.layer);
  v1::LatencyTableInfo info;
  info.set_digest(LatencyDigest(table));
  *info.mutable_setting() = ToProto(table.setting);
  info.set_date(table.date);
  info.set_rows(static_cast<int64_t>(table.rows.size()));
  info.set_layers(static_cast<int64_t>(layers.size()));
  for (const LatencyFit& fit : table.fits) *info.add_fits() = ToProto(fit);
  return info;
}

}  // namespace amc
