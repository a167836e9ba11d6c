// The server of an `amc run`'s folder, as a child of this process: nobody else talks to it, and it
// ends with its owner. What a search has found stays in the folder's database.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file.h"
#include "server/cli/client.h"
#include "server/cli/folder_lock.h"
#include "server/cli/process_tree.h"

namespace amc {

// One thread; tree() says what of it others may call. Make it before any other thread, as it holds
// a ProcessTree.
class PrivateServer {
 public:
  static constexpr int64_t kJobsAtOnce = 2;

  // `folder` is what `amc run -o` names. Starts nothing yet.
  explicit PrivateServer(const std::string& folder);
  ~PrivateServer();  // Stop()

  // Locks the folder, which is made where it is missing, starts the server on a socket and waits
  // until it answers; it has up to `jobs_at_once` jobs run at the same time. FailedPrecondition
  // when another works in the folder; tree().status() when it is not OK any more; Internal, with
  // the log's name, when the server stays mute.
  absl::Status Start(int64_t jobs_at_once = kJobsAtOnce);
  // A supervised worker beside it (supervised_worker.h), numbered from 1. Its crashes are news of
  // the tree; that it cannot go on, for good, is its status.
  absl::Status StartWorker(int64_t number, int threads);
  // Ends the children in order.
  void Stop();

  const std::string& folder() const { return folder_; }  // absolute
  std::string log_folder() const { return folder_ + "/logs"; }
  // Where Start listens, unless that makes too long a path for a socket.
  std::string default_address() const { return "unix:" + state_folder() + "/socket"; }
  std::string data_folder() const { return state_folder() + "/data"; }
  // Where the server keeps an artifact, for readers alone.
  std::string ArtifactPath(const std::string& digest) const {
    return data_folder() + "/artifacts/" + digest.substr(0, 2) + "/" + digest;
  }
  ProcessTree& tree() { return tree_; }
  const ProcessTree& tree() const { return tree_; }
  Client& client() { return *client_; }  // after Start

 private:
  std::string state_folder() const { return folder_ + "/.amc"; }
  // `name` is the process's in messages and, with a dash for its blank, its log's.
  absl::Status StartProcess(const std::string& name, std::vector<std::string> arguments,
                            const std::string& news_option = "");
  absl::Status Connect();

  std::string folder_, address_;
  std::unique_ptr<FolderLock> lock_;
  std::optional<TempDirectory> socket_folder_;
  ProcessTree tree_;
  std::unique_ptr<Client> client_;
};

}  // namespace amc
