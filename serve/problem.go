package serve

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/goclip/goclip/clip"
	"github.com/goclip/goclip/clip/preprocess"
)

// problem is why a request, or one of its inputs, was refused. Its message is for the client: one
// sentence without names of ours.
type problem struct {
	status  int
	code    string // for programs, as OpenAI's error codes are
	message string
	param   string // the field at fault, empty where there is none
	retry   int    // seconds for Retry-After, with 429 and 503
}

func (p *problem) Error() string { return p.message }

func refuse(status int, code, param, message string) *problem {
	return &problem{status: status, code: code, param: param, message: message}
}

func badRequest(param, message string) *problem {
	return refuse(http.StatusBadRequest, "invalid_request", param, message)
}

// asProblem is what a client sees of err. An error that is not a problem is ours: the log has
// it, the client not, unless the weights are no numbers.
func asProblem(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	if errors.Is(err, clip.ErrNotFinite) {
		return refuse(http.StatusInternalServerError, "not_finite", "", strings.TrimPrefix(err.Error(), "clip: "))
	}
	return refuse(http.StatusInternalServerError, "internal_error", "", "the request could not be computed; the server's log says why")
}

// imageProblem tells an image's own faults from each other.
func imageProblem(err error) *problem {
	message := strings.TrimPrefix(err.Error(), "preprocess: ")
	switch {
	case errors.Is(err, preprocess.ErrTooLarge):
		for _, limit := range []string{"MaxPixels", "MaxBytes", "MaxMemory"} {
			message = strings.TrimSuffix(message, " or raise "+limit)
		}
		return refuse(http.StatusRequestEntityTooLarge, "image_too_large", "", message)
	case errors.Is(err, preprocess.ErrUnsupported):
		return refuse(http.StatusUnsupportedMediaType, "image_unsupported", "", message)
	default:
		return refuse(http.StatusUnprocessableEntity, "image_unreadable", "", message)
	}
}

// dialect is how an API spells an error.
type dialect func(p *problem) any

type openAIError struct {
	Error openAIErrorBody `json:"error"`
}

type openAIErrorBody struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
}

// asOpenAI is {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}.
func asOpenAI(p *problem) any {
	e := openAIErrorBody{Message: p.message, Type: "invalid_request_error", Code: p.code}
	switch {
	case p.status == http.StatusTooManyRequests:
		e.Type = "rate_limit_error"
	case p.status >= 500:
		e.Type = "server_error"
	}
	if p.param != "" {
		e.Param = &p.param
	}
	return openAIError{e}
}

// asPlain is {"error": "..."}: Weaviate's and Ollama's.
func asPlain(p *problem) any {
	return struct {
		Error string `json:"error"`
	}{p.message}
}

// asDetail is {"detail": "..."}: FastAPI's, hence Immich's.
func asDetail(p *problem) any {
	return struct {
		Detail string `json:"detail"`
	}{p.message}
}

// write answers with p.
func (d dialect) write(w http.ResponseWriter, p *problem) {
	if p.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retry))
	}
	writeJSON(w, p.status, d(p))
}
