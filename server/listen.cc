#include "server/listen.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace amc {
namespace {

absl::Status InUse(const std::string& address) {
  return absl::FailedPreconditionError(
      absl::StrCat("address ", address, " is in use: another server listens there"));
}

absl::Status CheckUnix(const std::string& address) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, address.c_str() + 5, sizeof(name.sun_path) - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return ErrnoToStatus(errno, "socket", address);
  const absl::Cleanup closer = [fd] { close(fd); };
  if (connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0) {
    return InUse(address);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckAddressFree(const std::string& address) {
  if (absl::StartsWith(address, "unix:")) return CheckUnix(address);
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(absl::StrCat("address ", address, ": ", gai_strerror(error)));
  }
  const absl::Cleanup freer = [found] { freeaddrinfo(found); };
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    const int fd = socket(entry->ai_family, entry->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    const absl::Cleanup closer = [fd] { close(fd); };
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, entry->ai_addr, entry->ai_addrlen) == 0) continue;
    if (errno == EADDRINUSE) return InUse(address);
    if (errno == EADDRNOTAVAIL && entry->ai_next != nullptr) continue;
    return ErrnoToStatus(errno, "bind", address);
  }
  return absl::OkStatus();
}

}  // namespace amc
