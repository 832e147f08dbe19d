package data

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// openS3 is an object of Amazon's S3, or of a store that speaks as it does. Who asks, and where, is
// as AWS's own programs have it: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or
// ~/.aws/credentials with AWS_PROFILE, else nobody, for public objects; AWS_REGION and
// AWS_ENDPOINT_URL.
func openS3(name string) (opener, error) {
	bucket, key, ok := strings.Cut(strings.TrimPrefix(name, "s3://"), "/")
	if !ok || bucket == "" || key == "" {
		return nil, fmt.Errorf("data: %s: must be s3://BUCKET/KEY", name)
	}
	where := cmp.Or(os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), "https://s3.amazonaws.com")
	endpoint, err := url.Parse(where)
	if err != nil || endpoint.Host == "" {
		return nil, fmt.Errorf("data: %s: AWS_ENDPOINT_URL is %q; must be an address such as https://s3.amazonaws.com", name, where)
	}
	client, err := minio.NewCore(endpoint.Host, &minio.Options{
		Creds:      credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}}),
		Secure:     endpoint.Scheme == "https",
		Region:     cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")),
		MaxRetries: 1, // the stream tries again
	})
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", name, err)
	}
	return func(ctx context.Context, from int64, tag string) (content, error) {
		var o minio.GetObjectOptions
		if from > 0 {
			o.Set("Range", fmt.Sprintf("bytes=%d-", from))
		}
		if tag != "" {
			o.Set("If-Match", tag)
		}
		body, info, header, err := client.GetObject(ctx, bucket, key, o)
		if err != nil {
			code := minio.ToErrorResponse(err).StatusCode
			if code >= 400 && code < 500 && code != http.StatusTooManyRequests && code != http.StatusRequestTimeout {
				err = permanent{err}
			}
			return content{}, err
		}
		c := content{ReadCloser: body, size: info.Size, tag: info.ETag}
		if from > 0 {
			first, size, err := contentRange(header.Get("Content-Range"))
			if err != nil || first != from {
				body.Close()
				return content{}, permanent{fmt.Errorf("%s: the server sends no range from byte %d on", name, from)}
			}
			c.size = size
		}
		return c, nil
	}, nil
}
