// The server as a whole: store, artifacts, job threads, services, one listening socket.
//
// Loopback and unix sockets are open to every local user and need nothing else. Any other address
// needs a TLS certificate and a token, or the server refuses to start.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace amc {

struct ServerOptions {
  std::string address = "127.0.0.1:7070";  // HOST:PORT (port 0: any free one) or unix:/PATH
  std::string data_folder;                 // amc.db and artifacts/; made if it is not there
  int max_running_jobs = 2;                // the others wait in the order they came
  int max_unfinished_jobs = 1000;          // running or waiting; more are refused
  int max_environments = 64;               // of EnvironmentService, open at once
  int max_streams = 256;                   // uploads, downloads, watchers, backups at once
  int64_t disk_quota_bytes = 0;            // of artifacts; 0: no limit but the disk's
  std::string tls_certificate_file;        // PEM; both or none
  std::string tls_key_file;
  std::string token;  // clients send "authorization: Bearer TOKEN"; needs TLS
  absl::Duration lease_term = absl::Seconds(15);  // without a heartbeat a lease ends after this
  absl::Duration heartbeat = absl::Seconds(1);    // how often idle workers are told to call
  absl::Duration backoff = absl::Seconds(1);      // before the second attempt; doubles with each
  absl::Duration environment_idle = absl::Minutes(10);
  absl::Duration stream_idle = absl::Minutes(1);     // a stream that stands still is cancelled
  absl::Duration artifact_unused = absl::Hours(24);  // how long what no job names is kept
};

// A running server. Thread-safe.
class Server {
 public:
  // Opens the store, takes unfinished jobs up again, listens. InvalidArgument for bad options (an
  // open address without TLS and token), FailedPrecondition when the address is in use, the store
  // is another process's or of a newer version; otherwise as OpenSqliteStore.
  //
  // Agents learn in this process and deterministically on one thread: call TuneProcess(1) first.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options);
  // Shutdown().
  ~Server();

  // Where it listens, as clients write it, with the port that was chosen.
  const std::string& address() const;

  // Stops taking calls, waits until running jobs have come to a safe point (their state on disk is
  // always one), closes the store. Jobs stay as they are and go on at the next start. Idempotent.
  void Shutdown();

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// Start, then `on_ready` with the address, then serve until SIGTERM or SIGINT; returns OK after an
// orderly end. Call from main before any thread is started: it blocks both signals for the process.
absl::Status RunServer(const ServerOptions& options,
                       const std::function<void(const std::string& address)>& on_ready);

}  // namespace amc
