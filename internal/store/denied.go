package store

import (
	"fmt"
	"net/http"
)

// deniedError is ErrDenied with what to do about it.
type deniedError struct{ todo string }

func (e *deniedError) Error() string { return fmt.Sprintf("%v: %s", ErrDenied, e.todo) }
func (e *deniedError) Unwrap() error { return ErrDenied }

// denied says what a refusal means, by the provider's own code where it gave one; nil where it is no refusal. An answer
// without a body, as to a look-up, has no code.
func denied(status int, code string) error {
	var todo string
	switch code {
	case "InvalidAccessKeyId", "XAdminUserNotFound": // the latter is versitygw's, with the status 404
		todo = "it does not know the access key; correct accessKeyID in the credentials file"
	case "SignatureDoesNotMatch", "AuthenticationFailed":
		todo = "the secret does not fit the key or account; correct it in the credentials file"
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired":
		todo = "the session token has expired or is not valid; put a new one into the credentials file"
	case "RequestTimeTooSkewed":
		todo = "this machine's clock and the store's are too far apart; set the clock"
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "AuthorizationQueryParametersError":
		todo = "the bucket is probably in another region; correct ?region= in the store's URL"
	default:
		switch status {
		case http.StatusUnauthorized, http.StatusForbidden:
			todo = "check the credentials file, and that its key may list, read, write and delete here"
		case http.StatusMovedPermanently:
			todo = "the bucket is in another region; correct ?region= in the store's URL"
		default:
			return nil
		}
	}
	return &deniedError{todo: todo}
}
