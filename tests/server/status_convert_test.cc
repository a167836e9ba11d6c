#include "server/rpc/status_convert.h"

#include "absl/strings/cord.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace amc {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(StatusConvertTest, KeepsEveryCodeAndMessage) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), code == 0 ? "" : "why");
    EXPECT_EQ(static_cast<int>(ToGrpcStatus(status).error_code()), code);
    EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(status)), status);
  }
}

TEST(StatusConvertTest, SendsFieldViolationsAsGoogleRpcBadRequest) {
  const grpc::Status status = ToGrpcStatus(FieldError("a.b", "bad"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  // google.rpc.Status{code: 3, message: "a.b: bad", details: Any{type_url, BadRequest{
  // field_violations {field: "a.b", description: "bad"}}}}, byte for byte after the wire format.
  const std::string violation =
      "\x0a\x03"
      "a.b"
      "\x12\x03"
      "bad";
  const std::string bad_request = "\x0a\x0a" + violation;
  const std::string url = "type.googleapis.com/google.rpc.BadRequest";
  const std::string any =
      "\x0a" + std::string(1, static_cast<char>(url.size())) + url + "\x12\x0c" + bad_request;
  const std::string expected = std::string("\x08\x03\x12\x08") + "a.b: bad" + "\x1a" +
                               std::string(1, static_cast<char>(any.size())) + any;
  EXPECT_EQ(status.error_details(), expected);
}

TEST(StatusConvertTest, ReadsItsOwnViolationsBack) {
  const absl::Status status = FromGrpcStatus(ToGrpcStatus(
      FieldErrors({{"spec.model", "missing"}, {"spec.budget.ratio", "2 is too big"}})));
  EXPECT_EQ(status.message(), "spec.model: missing; spec.budget.ratio: 2 is too big");
  EXPECT_THAT(FieldViolations(status),
              ElementsAre(FieldViolation{"spec.model", "missing"},
                          FieldViolation{"spec.budget.ratio", "2 is too big"}));
}

TEST(StatusConvertTest, AttributesAnErrorToAFieldAndKeepsItsCode) {
  const absl::Status status = AtField(absl::OutOfRangeError("too small"), "spec.budget");
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(status.message(), "spec.budget: too small");
  EXPECT_TRUE(AtField(absl::OkStatus(), "x").ok());
}

TEST(StatusConvertTest, IgnoresDetailsThatAreNoStatus) {
  const absl::Status status =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::INTERNAL, "why", "\xff\xff garbage"));
  EXPECT_EQ(status.message(), "why");
  EXPECT_THAT(FieldViolations(status), IsEmpty());
}

TEST(StatusConvertTest, MessagesOfOtherBytesArriveWithTheirFields) {
  const grpc::Status status = ToGrpcStatus(FieldError("spec.data", "class caf\xe9 is empty"));
  EXPECT_EQ(status.error_message(), "spec.data: class caf\xEF\xBF\xBD is empty");
  const std::vector<FieldViolation> violations = FieldViolations(FromGrpcStatus(status));
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_EQ(violations[0].description, "class caf\xEF\xBF\xBD is empty");
}

}  // namespace
}  // namespace amc
