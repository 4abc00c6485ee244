package config

import "strings"

// masked stands for a value that is not shown.
const masked = "******"

// secretWords mark keys whose values are not shown: Flink's list, and the credentials of ZooKeeper.
var secretWords = []string{
	"password", "secret", "fs.azure.account.key", "apikey", "api-key", "auth-params", "service-key",
	"token", "basic-auth", "jaas.config", "http-headers", "client.authorization",
}

// Mask returns what of key's value may be shown in logs, error messages and the REST interface: ****** for
// keys that speak of passwords, tokens and the like.
func Mask(key, value string) string {
	key = strings.ToLower(key)
	for _, word := range secretWords {
		if strings.Contains(key, word) {
			return masked
		}
	}
	return value
}
